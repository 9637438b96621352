/** The types of columns, and those that users have made. */
import type * as Introspection from "../../introspection/Introspection.ts"
import { isOurs } from "./where.ts"

/** The type under a number, and for an array that of its elements. To be joined with what has the number. */
const typed = (oid: string): string =>
  `pg_catalog.pg_type y on y.oid = ${oid}
  left join pg_catalog.pg_type e on e.oid = y.typelem and e.typarray = y.oid
  left join pg_catalog.pg_namespace yn on yn.oid = coalesce(e.typnamespace, y.typnamespace)`

const typeName = "coalesce(e.typname, y.typname)"

const dimensions = (declared: string): string =>
  `(case when e.oid is null then 0 else greatest(${declared}, 1) end)::text`

/** The columns of what a condition chooses. */
export const columnTypes = (where: string): string =>
  `select n.nspname as schema, c.relname as "table", a.attname as "column",
  yn.nspname as "typeSchema", ${typeName} as "typeName", ${dimensions("a.attndims")} as dimensions,
  case when y.typname in ('varchar', 'bpchar') and a.atttypmod > 4 then (a.atttypmod - 4)::text end as "maxLength",
  a.attgenerated = '' and a.attidentity <> 'a' as insertable
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join ${typed("a.atttypid")}
where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped and ${where}
order by 1, 2, a.attnum`

export interface ColumnTypeRow {
  readonly schema: string
  readonly table: string
  readonly column: string
  readonly typeSchema: string
  readonly typeName: string
  readonly dimensions: string
  readonly maxLength: string | undefined
  readonly insertable: boolean
}

export const toColumnType = (row: ColumnTypeRow): Introspection.ColumnType => ({
  schema: row.schema,
  table: row.table,
  column: row.column,
  type: { schema: row.typeSchema, name: row.typeName, dimensions: Number(row.dimensions) },
  maxLength: row.maxLength === undefined ? undefined : Number(row.maxLength),
  insertable: row.insertable,
  onUpdate: undefined,
  hidden: false
})

/** What a type is made of: the attributes of a composite one by one, and one row for each of the others. */
export const types = `select n.nspname as schema, t.typname as name,
  case t.typtype when 'e' then 'enum' when 'd' then 'domain' when 'c' then 'composite' when 'r' then 'range'
    else 'multirange' end as kind,
  pg_catalog.obj_description(t.oid, 'pg_type') as comment,
  array(select l.enumlabel from pg_catalog.pg_enum l where l.enumtypid = t.oid order by l.enumsortorder) as labels,
  not t.typnotnull as nullable, a.attname as attribute,
  yn.nspname as "typeSchema", ${typeName} as "typeName",
  ${dimensions("coalesce(a.attndims, t.typndims)")} as dimensions
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_class c on c.oid = t.typrelid
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_range r on r.rngtypid = t.oid
left join pg_catalog.pg_range m on t.typtype = 'm' and pg_catalog.to_jsonb(m) ->> 'rngmultitypid' = t.oid::text
left join ${typed("coalesce(a.atttypid, nullif(t.typbasetype, 0), r.rngsubtype, m.rngtypid)")}
where (t.typtype in ('e', 'd', 'r', 'm') or t.typtype = 'c' and c.relkind = 'c') and ${isOurs("n.nspname")}
order by 1, 2, a.attnum`

interface Attribute {
  readonly name: string
  readonly type: Introspection.TypeName
}

export interface TypeRow {
  readonly schema: string
  readonly name: string
  readonly kind: Introspection.Type["kind"]
  readonly comment: string | undefined
  readonly labels: ReadonlyArray<string>
  readonly nullable: boolean
  readonly attribute: string | undefined
  readonly typeSchema: string | undefined
  readonly typeName: string | undefined
  readonly dimensions: string
}

/** Takes the attributes of a composite together. */
export const toTypes = (rows: ReadonlyArray<TypeRow>): ReadonlyArray<Introspection.Type> => {
  const types = new Map<string, { readonly type: Introspection.Type; readonly attributes: Array<Attribute> }>()
  for (const { attribute, dimensions, typeName, typeSchema, ...own } of rows) {
    const key = JSON.stringify([own.schema, own.name])
    const base = typeName === undefined
      ? undefined
      : { schema: typeSchema, name: typeName, dimensions: Number(dimensions) }
    let known = types.get(key)
    if (known === undefined) {
      const attributes: Array<Attribute> = []
      known = { type: { ...own, base: own.kind === "composite" ? undefined : base, attributes }, attributes }
      types.set(key, known)
    }
    if (attribute !== undefined && base !== undefined) known.attributes.push({ name: attribute, type: base })
  }
  return Array.from(types.values(), ({ type }) => type)
}
