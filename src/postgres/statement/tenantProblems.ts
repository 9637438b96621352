/** What row-level security does not hold against, for a role ($1, or the user) and a column ($2, or none). */
export const problemsQuery = `
with me as (
  select r.oid, r.rolname, r.rolsuper, r.rolbypassrls from pg_catalog.pg_roles r
  where r.rolname = coalesce($1::text, current_user::text)
), own as (
  select c.oid, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.oid::regclass::text as name
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
)
select 'role ' || coalesce($1::text, current_user::text) as object, 'does not exist' as problem
where not exists (select from me)
union all
select 'role ' || rolname, 'is a superuser, whom no policy holds' from me where rolsuper
union all
select 'role ' || rolname, 'has BYPASSRLS, so that no policy holds it' from me where rolbypassrls and not rolsuper
union all
select 'table ' || name, 'belongs to the role, whom its policies do not hold: say FORCE ROW LEVEL SECURITY'
from own, me
where relkind in ('r', 'p') and relrowsecurity and not relforcerowsecurity and not rolsuper and not rolbypassrls
  and pg_catalog.pg_has_role(me.oid, relowner, 'USAGE')
union all
select 'table ' || name, 'has the column ' || $2::text || ' and no row-level security'
from own
where relkind in ('r', 'p') and not relrowsecurity and exists (
  select from pg_catalog.pg_attribute a
  where a.attrelid = own.oid and a.attname = $2::text and a.attnum > 0 and not a.attisdropped
)
union all
select 'policy ' || p.polname || ' of ' || name,
  'reads a setting that may be empty: say nullif(current_setting(…, true), '''')'
from pg_catalog.pg_policy p join own on own.oid = p.polrelid,
  lateral (select lower(concat(
    pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
  )) as text) e
where e.text like '%current_setting(%' and e.text not like '%nullif(%'
union all
select 'view ' || name, 'runs as its owner, whom the policies may not hold: set (security_invoker = true)'
from own
where relkind = 'v' and not coalesce(reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)
  and exists (
    select from pg_catalog.pg_rewrite w join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
    join pg_catalog.pg_class t on t.oid = d.refobjid and d.refclassid = 'pg_catalog.pg_class'::regclass
    where w.ev_class = own.oid and t.relrowsecurity
  )
order by 1, 2`
