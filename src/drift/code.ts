/** What runs inside a database: functions, procedures, triggers, events, and the policies of row-level security. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/** A function, a procedure or an event. */
export interface Routine {
  readonly schema: string
  readonly name: string
  /** What tells it from others of its name: the types of its parameters. */
  readonly parameters: string
  readonly kind: string
  readonly text: string
}

/** A part of a table. */
export interface TablePart {
  readonly schema: string
  readonly table: string
  readonly kind: "trigger" | "policy" | "row security"
  readonly name: string
  readonly text: string
}

/** All of it, but for what extensions and the server have brought. */
export interface Code {
  readonly routines: ReadonlyArray<Routine>
  readonly parts: ReadonlyArray<TablePart>
}

const isOurs = "n.nspname not in ('information_schema', 'pg_catalog') and n.nspname !~ '^pg_'"

const isOfExtension = (catalog: string, oid: string): string =>
  `exists (select from pg_catalog.pg_depend d where d.classid = '${catalog}'::pg_catalog.regclass and d.objid = ${oid}
    and d.deptype = 'e')`

// `prosqlbody` exists since PostgreSQL 14; before it there are no bodies but texts.
const postgresBody = `case when pg_catalog.to_jsonb(p) ->> 'prosqlbody' is null then p.prosrc
    else pg_catalog.regexp_replace(pg_catalog.pg_get_functiondef(p.oid), '^.*?\\n(RETURN|BEGIN ATOMIC)', '\\1') end`

const postgresRoutines = `select n.nspname as schema, p.proname as name,
  pg_catalog.pg_get_function_identity_arguments(p.oid) as parameters,
  case p.prokind when 'p' then 'procedure' else 'function' end as kind,
  pg_catalog.concat_ws(' ',
    '(' || pg_catalog.pg_get_function_arguments(p.oid) || ')',
    'returns ' || pg_catalog.pg_get_function_result(p.oid), 'language ' || l.lanname,
    case p.provolatile when 'i' then 'immutable' when 's' then 'stable' end,
    case when p.proisstrict then 'strict' end, case when p.prosecdef then 'security definer' end,
    case p.proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end,
    case when p.proleakproof then 'leakproof' end,
    'set ' || pg_catalog.array_to_string(p.proconfig, ' set '))
    || e'\\n' || ${postgresBody} as text
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
where p.prokind in ('f', 'p', 'w') and ${isOurs} and not ${isOfExtension("pg_catalog.pg_proc", "p.oid")}
order by 1, 2, 3`

const postgresParts = `select n.nspname as schema, c.relname as "table", 'trigger' as kind, t.tgname as name,
  pg_catalog.regexp_replace(pg_catalog.pg_get_triggerdef(t.oid), '^CREATE (CONSTRAINT )?TRIGGER .*? (BEFORE|AFTER|INSTEAD OF) ',
    '\\1\\2 ') || case t.tgenabled when 'O' then '' when 'D' then ' disabled' when 'R' then ' on replicas' else ' always' end
    as text
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not t.tgisinternal and not c.relispartition and ${isOurs}
  and not ${isOfExtension("pg_catalog.pg_trigger", "t.oid")}
union all
select n.nspname, c.relname, 'policy', p.polname, pg_catalog.concat_ws(' ',
  case when not p.polpermissive then 'restrictive' end,
  case p.polcmd when 'r' then 'for select' when 'a' then 'for insert' when 'w' then 'for update' when 'd' then 'for delete'
    else 'for all' end,
  'to ' || coalesce((select pg_catalog.string_agg(r.rolname, ', ' order by r.rolname) from pg_catalog.pg_roles r
    where r.oid = any (p.polroles)), 'public'),
  'using (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
  'with check (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')')
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where ${isOurs}
union all
select n.nspname, c.relname, 'row security', '', case when c.relforcerowsecurity then 'forced' else 'enabled' end
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relrowsecurity and not c.relispartition and ${isOurs}
order by 1, 2, 3, 4`

const mysqlRoutines = `select r.routine_schema as \`schema\`, r.routine_name as name, '' as parameters,
  lower(r.routine_type) as kind,
  concat('(', coalesce((select group_concat(concat_ws(' ', lower(p.parameter_mode), p.parameter_name, p.dtd_identifier)
      order by p.ordinal_position separator ', ')
    from information_schema.parameters p where p.specific_schema = r.routine_schema and p.specific_name = r.specific_name
      and p.routine_type = r.routine_type and p.ordinal_position > 0), ''), ')',
    if(coalesce(r.dtd_identifier, '') = '', '', concat(' returns ', r.dtd_identifier)),
    if(r.is_deterministic = 'YES', ' deterministic', ''), ' ', lower(r.sql_data_access),
    if(r.security_type = 'INVOKER', ' sql security invoker', ''), '\\n', coalesce(r.routine_definition, '')) as text
from information_schema.routines r
where r.routine_schema = ? and r.routine_type in ('FUNCTION', 'PROCEDURE')
union all
select e.event_schema, e.event_name, '', 'event',
  concat(if(e.event_type = 'RECURRING', concat('every ', e.interval_value, ' ', lower(e.interval_field)), 'once'),
    if(e.status = 'ENABLED', '', concat(' ', lower(e.status))), '\\n', e.event_definition)
from information_schema.events e
where e.event_schema = ?
order by 1, 2, 4`

const mysqlParts = `select event_object_schema as \`schema\`, event_object_table as \`table\`, 'trigger' as kind,
  trigger_name as name, concat(lower(action_timing), ' ', lower(event_manipulation), '\\n', action_statement) as text
from information_schema.triggers
where trigger_schema = ?
order by 1, 2, 4`

/** Reads it, on MySQL of one database. */
export const readCode = Effect.fnUntraced(function*(
  isPostgres: boolean,
  home: string
): Effect.fn.Return<Code, SqlError, SqlClient.SqlClient> {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const routines = yield* isPostgres
    ? sql.unsafe<Routine>(postgresRoutines)
    : sql.unsafe<Routine>(mysqlRoutines, [home, home])
  const parts = yield* isPostgres ? sql.unsafe<TablePart>(postgresParts) : sql.unsafe<TablePart>(mysqlParts, [home])
  return {
    routines: routines.map((routine) => ({ ...routine, text: tidy(routine.text) })),
    parts: parts.map((part) => ({ ...part, text: tidy(part.text) }))
  }
})

/** Line ends, blanks at the ends of lines, and empty lines before the body mean nothing. */
const tidy = (text: string): string => text.replaceAll(/[ \t]*\r?\n/g, "\n").replace(/\n+/, "\n").trim()
