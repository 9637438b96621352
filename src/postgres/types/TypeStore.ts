/**
 * What is known of the types of a database: PostgreSQL's own by heart, the others from its catalogue.
 *
 * One store serves all sessions of an adapter. It is filled when a type turns up that it does not know: the session asks
 * the catalogue for that type, for all it is made of, and the first time for everything that users have defined.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import { UnfitValue } from "../../values/UnfitValue.ts"
import { quoteText } from "../statement/identifiers.ts"
import { builtinRanges, builtins, vectors } from "./builtins.ts"
import type { Codec } from "./Codec.ts"
import { arrayCodec, vectorCodec } from "./containers/arrays.ts"
import { compositeCodec, recordCodec } from "./containers/composites.ts"
import { hstoreCodec } from "./containers/hstore.ts"
import { multirangeCodec, rangeCodec } from "./containers/ranges.ts"
import { onlyText, textCodec, versionedText } from "./scalars/text.ts"

/** Types that a statement needs and that have not been looked up yet: by name, or by number. */
export class UnknownTypes extends Error {
  readonly names: ReadonlyArray<string>
  readonly oids: ReadonlyArray<number>
  constructor(names: ReadonlyArray<string>, oids: ReadonlyArray<number> = []) {
    super(`the type ${[...names, ...oids].join(", ")} is not known`)
    this.names = names
    this.oids = oids
  }
}

/** What an array is made of. */
export interface Elements {
  readonly element: number
  readonly delimiter: string
}

interface Exchange {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly kind: string
  readonly element: number
  readonly array: number
  readonly base: number
  readonly delimiter: string
  readonly send: string
  /** What a range is made of. */
  readonly subtype: number
  /** The range of a multirange. */
  readonly range: number
  readonly attributes: ReadonlyArray<{ readonly name: string; readonly oid: number }>
}

/** What names of types mean. A 0 says that there is no such type. */
export type TypeNames = Map<string, number>

/** How many search paths are told apart. */
const maxScopes = 1_000

/** How the values of some types are read and written, by the names of the types. */
export type Codecs = Readonly<Record<string, Codec<any>>>

const text = textCodec("text")
const builtinNames = new Map([
  ...builtins.map(({ name, oid }) => [name, oid] as const),
  ...builtinRanges.flatMap(([range, , multirange, , , prefix]) =>
    [[`${prefix}range`, range], [`${prefix}multirange`, multirange]] as const
  ),
  ...vectors.map(([oid, , , name]) => [name, oid] as const)
])
/** The names that SQL has for them, none of which can be a type of the user's. */
const aliases: Readonly<Record<string, string>> = {
  bigint: "int8",
  boolean: "bool",
  "character varying": "varchar",
  decimal: "numeric",
  "double precision": "float8",
  int: "int4",
  integer: "int4",
  real: "float4",
  smallint: "int2",
  "time with time zone": "timetz",
  "time without time zone": "time",
  "timestamp with time zone": "timestamptz",
  "timestamp without time zone": "timestamp"
}
const builtinNumbers = new Map(Array.from(builtinNames, ([name, oid]) => [oid, name]))
/** The arrays of the types that PostgreSQL itself has. */
const builtinArrays = new Map(builtins.flatMap((type) => type.array === 0 ? [] : [[type.array, type] as const]))

/** Types of extensions whose binary form is known by the function that writes it. */
const extensions: Record<string, Codec<any>> = {
  citextsend: textCodec("citext"),
  ltree_send: versionedText("ltree"),
  lquery_send: versionedText("lquery"),
  ltxtq_send: versionedText("ltxtquery"),
  hstore_send: hstoreCodec(text),
  enum_send: textCodec("enum"),
  textsend: text
}

const record = 2249
const recordArray = 2287

export class TypeStore {
  readonly registry: PgTypes.Registry | undefined
  private readonly choices: Codecs
  private readonly codecs = new Map<number, Codec<any>>()
  private readonly entries = new Map<number, Exchange>()
  /** What names without a schema mean, by what decides it. */
  private readonly scopes = new Map<string, TypeNames>()
  /** The names as the session has them whose statement is being encoded, which is done without waiting. */
  private names: TypeNames
  private readonly arrays = new Map<number, number>()
  private readonly elements = new Map<number, Elements>()
  /** Arrays that follow from their elements. */
  private readonly builtArrays = new Set<number>()
  /** Types that nobody has asked the catalogue for, although a value of them has come. */
  private readonly wanted = new Set<number>()
  private readonly driverCodecs = new Map<number, Codec<any>>()
  private loaded = false

  constructor(registry?: PgTypes.Registry, choices: Codecs = {}) {
    this.registry = registry
    this.choices = choices
    this.names = this.namesIn("")
    this.fill()
  }

  private fill(): void {
    const { codecs } = this
    for (const { array, codec, name, oid } of builtins) {
      const chosen = this.choices[name] ?? this.choices[`pg_catalog.${name}`] ?? this.withDriver(oid, codec)
      codecs.set(oid, chosen)
      if (array !== 0) {
        codecs.set(array, arrayCodec(`${name}[]`, oid, chosen, name === "box" ? ";" : ","))
        this.addArray(oid, array, name === "box" ? ";" : ",")
      }
    }
    for (const [range, array, multirange, multirangeArray, element, prefix] of builtinRanges) {
      const codec = rangeCodec(`${prefix}range`, codecs.get(element)!)
      const multi = multirangeCodec(`${prefix}multirange`, codec, codecs.get(element)!)
      for (const [oid, arrayOid, made] of [[range, array, codec], [multirange, multirangeArray, multi]] as const) {
        const chosen = this.choices[made.name] ?? made as Codec<any>
        codecs.set(oid, chosen)
        codecs.set(arrayOid, arrayCodec(`${made.name}[]`, oid, chosen, ","))
        this.addArray(oid, arrayOid)
      }
    }
    for (const [oid, array, element, name] of vectors) {
      const codec = vectorCodec(name, element, codecs.get(element)!)
      codecs.set(oid, codec)
      codecs.set(array, arrayCodec(`${name}[]`, oid, codec, ","))
      this.addArray(oid, array)
    }
    const rows = recordCodec((oid) => this.codecs.get(oid), (oid) => this.wanted.add(oid))
    codecs.set(record, rows)
    codecs.set(recordArray, arrayCodec("record[]", record, rows, ","))
  }

  private addArray(element: number, array: number, delimiter = ","): void {
    this.arrays.set(element, array)
    this.elements.set(array, { element, delimiter })
  }

  /** What the driver knows or was taught is read by the driver, so that what was registered with it goes on working. */
  private withDriver(oid: number, codec: Codec<any>): Codec<any> {
    if (!driverKnows(oid, this.registry)) return codec
    // The driver's bytes are a view that would keep the whole buffer of the socket alive.
    if (oid === PgTypes.OID.bytea && this.registry === undefined) return codec
    const read = Result.getOrThrow(PgTypes.makeFieldReader([{ format: 1, dataTypeOid: oid }], this.registry))
    const own = codec.read!
    const isTime = oid === PgTypes.OID.timestamp || oid === PgTypes.OID.timestamptz
    const { registry } = this
    return {
      ...codec,
      read: isTime
        ? (bytes, offset, size) => {
          const value = read(bytes, offset, size, 0)
          // The driver has one invalid date for both infinities and for all that a `Date` cannot be.
          return value instanceof Date && Number.isNaN(value.getTime()) ? own(bytes, offset, size) : value
        }
        : oid === PgTypes.OID.timetz
        ? own
        : (bytes, offset, size) => read(bytes, offset, size, 0),
      write: registry === undefined ? codec.write : (sink, value) => {
        const encoded = PgTypes.encode(value, oid, registry)
        if (Result.isSuccess(encoded)) sink.raw(encoded.success)
        else codec.write!(sink, value)
      }
    }
  }

  /** How a type is read and written, or `undefined` if the catalogue has to be asked. */
  codec(oid: number): Codec<any> | undefined {
    if (this.wanted.has(oid)) return undefined
    const known = this.codecs.get(oid)
    if (known !== undefined || !driverKnows(oid, this.registry)) return known
    // Registered with the driver under a number of the user's.
    const codec = this.registered(oid)
    this.codecs.set(oid, codec)
    return codec
  }

  private registered(oid: number): Codec<any> {
    const { registry } = this
    const read = Result.getOrThrow(PgTypes.makeFieldReader([{ format: 1, dataTypeOid: oid }], registry))
    return {
      name: `type ${oid}`,
      read: (bytes, offset, size) => read(bytes, offset, size, 0),
      write: (sink, value) => {
        const encoded = PgTypes.encode(value, oid, registry)
        if (Result.isFailure(encoded)) throw new UnfitValue({ message: `expected a value of type ${oid}` })
        sink.raw(encoded.success)
      },
      parse: (text) => text,
      format: String
    }
  }

  /** What names mean under a `search_path` that a transaction has begun with; `""` is that of the sessions. */
  namesIn(scope: string): TypeNames {
    let names = this.scopes.get(scope)
    if (names === undefined) {
      if (this.scopes.size > maxScopes) {
        for (const old of this.scopes.keys()) if (old !== "") this.scopes.delete(old)
      }
      this.scopes.set(scope, names = new Map())
    }
    return names
  }

  /** Takes names as a session has them, until another one takes its own. */
  use(names: TypeNames): void {
    this.names = names
  }

  private oidOf(name: string): number | undefined {
    return builtinNames.get(name) ?? this.names.get(name)
  }

  /** The type of that name. Throws if the catalogue has to be asked. */
  byName(name: string): number {
    const oid = this.oidOf(name)
    if (oid !== undefined && oid !== 0 && !this.wanted.has(oid)) return oid
    if (oid === 0) throw new UnfitValue({ message: `there is no type ${name}` })
    if (name.endsWith("[]")) {
      const element = this.oidOf(name.slice(0, -2))
      const array = element === undefined ? undefined : this.arrays.get(element)
      if (array !== undefined && this.codec(array) !== undefined) return array
    }
    throw new UnknownTypes([name])
  }

  /** The array of a type, where it is known. */
  arrayOf(oid: number): number | undefined {
    return this.arrays.get(oid)
  }

  /** What the elements of an array are; `undefined` for what is no array. */
  elementOf(oid: number): Elements | undefined {
    return this.elements.get(oid)
  }

  /** What a domain is made of, and any other type itself. */
  baseOf(oid: number): number {
    let base = oid
    for (let entry = this.entries.get(base); entry?.kind === "d"; entry = this.entries.get(base)) base = entry.base
    return base
  }

  /** The type that PostgreSQL itself has under a name, also as an array. */
  builtinNamed(name: string): number | undefined {
    const isArray = name.endsWith("[]")
    const element = isArray ? name.slice(0, -2) : name
    const oid = builtinNames.get(Object.hasOwn(aliases, element) ? aliases[element]! : element)
    return oid === undefined || !isArray ? oid : this.arrays.get(oid)
  }

  /** Whether a type is the one that somebody calls so, whatever schema it is from if none is named. */
  isCalled(oid: number, name: string): boolean {
    if (this.oidOf(name) === oid) return true
    if (name.endsWith("[]")) {
      const elements = this.elements.get(oid)
      return elements !== undefined && this.isCalled(elements.element, name.slice(0, -2))
    }
    const entry = this.entries.get(oid)
    return entry !== undefined && (entry.name === name || `${entry.schema}.${entry.name}` === name)
  }

  /** Whether the program has chosen how the values of a type are written. */
  isChosen(oid: number): boolean {
    const entry = this.entries.get(oid)
    if (entry !== undefined) {
      return `${entry.schema}.${entry.name}` in this.choices || entry.name in this.choices ||
        entry.kind === "d" && this.isChosen(entry.base)
    }
    const builtin = builtinNumbers.get(oid)
    return builtin !== undefined && (builtin in this.choices || `pg_catalog.${builtin}` in this.choices)
  }

  /** How the driver writes a value of a type that one of its constructors has named. */
  driverCodec(oid: number): Codec<any> {
    let codec = this.driverCodecs.get(oid)
    if (codec === undefined) {
      const name = builtinNumbers.get(oid) ?? `type ${oid}`
      const { registry } = this
      codec = {
        ...onlyText(name),
        write: (sink, value) => {
          // What the driver says of a value may show it.
          const encoded = PgTypes.encode(value, oid, registry)
          if (Result.isFailure(encoded)) throw new UnfitValue({ message: `expected a value of ${name}` })
          sink.raw(encoded.success)
        }
      }
      this.driverCodecs.set(oid, codec)
    }
    return codec
  }

  /** Which of these types the catalogue has to be asked for. */
  missing(oids: Iterable<number>): Array<number> {
    const missing: Array<number> = []
    for (const oid of oids) if (oid !== 0 && this.codec(oid) === undefined) missing.push(oid)
    for (const oid of this.wanted) if (!missing.includes(oid)) missing.push(oid)
    return missing
  }

  /** Somebody changed a type, so it is read again when it turns up. */
  forget(oids?: ReadonlyArray<number>): void {
    if (oids === undefined) {
      // Only what came from the catalogue can change.
      for (const oid of [...this.entries.keys(), ...this.builtArrays]) this.codecs.delete(oid)
      this.entries.clear()
      this.builtArrays.clear()
      this.loaded = false
    } else {
      for (const oid of oids) this.wanted.add(oid)
    }
    for (const names of this.scopes.values()) names.clear()
  }

  /**
   * The question to the catalogue. Answers rows of text. It is asked again for what its answer refers to, which is
   * quicker than one question that follows the references: the server takes that one for a big thing.
   */
  question(oids: ReadonlyArray<number>, names: ReadonlyArray<string>): string {
    const roots = oids.length === 0 ? "0" : oids.join(",")
    const asked = names.map((name) => `(${quoteText(name)}, pg_catalog.to_regtype(${quoteText(name)})::oid)`).join(", ")
    // Table rows are left for when they are needed: there may be thousands of them.
    const all = this.loaded
      ? ""
      : " or t.oid >= 16384 and (t.typtype in ('e', 'd', 'r', 'm') or t.typtype = 'b' and t.typelem = 0)"
    return `${
      asked === "" ? "select null as n, null as o where false" : `select n, o::text as o from (values ${asked}) a(n, o)`
    };
select t.oid::text as oid, n.nspname, t.typname, t.typtype::text as kind, t.typelem::text as element,
  t.typarray::text as array, t.typbasetype::text as base, t.typdelim::text as delimiter,
  coalesce(p.proname, '') as send, coalesce(r.rngsubtype, 0)::text as subtype, coalesce(m.rngtypid, 0)::text as range,
  case when t.typtype = 'c' then (
    select coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'oid', a.atttypid::bigint) order by a.attnum), '[]')
    from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) end::text as attributes
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_proc p on p.oid = t.typsend
left join pg_catalog.pg_range r on r.rngtypid = t.oid
left join pg_catalog.pg_range m on t.typtype = 'm' and pg_catalog.to_jsonb(m)->>'rngmultitypid' = t.oid::text
where t.oid in (${roots})${asked === "" ? "" : ` or t.oid in (select o from (values ${asked}) a(n, o))`}${all}`
  }

  /** Takes the answer in. Returns the types that it refers to and that have to be asked for as well. */
  load(
    oids: ReadonlyArray<number>,
    names: ReadonlyArray<readonly [name: string, oid: string | null]>,
    rows: ReadonlyArray<ReadonlyArray<string | null>>,
    into: TypeNames = this.names
  ): ReadonlyArray<number> {
    this.loaded = true
    for (const [name, oid] of names) into.set(name, oid === null ? 0 : Number(oid))
    for (const row of rows) {
      const entry: Exchange = {
        oid: Number(row[0]),
        schema: row[1]!,
        name: row[2]!,
        kind: row[3]!,
        element: Number(row[4]),
        array: Number(row[5]),
        base: Number(row[6]),
        delimiter: row[7]!,
        send: row[8]!,
        subtype: Number(row[9]),
        range: Number(row[10]),
        attributes: row[11] === null || row[11] === undefined ? [] : JSON.parse(row[11])
      }
      if (!this.codecs.has(entry.oid) || this.wanted.has(entry.oid)) {
        this.entries.set(entry.oid, entry)
        this.codecs.delete(entry.oid)
      }
      if (entry.array !== 0) this.addArray(entry.oid, entry.array, entry.delimiter)
    }
    this.wanted.clear()
    for (const oid of oids) if (this.codec(oid) === undefined && !this.entries.has(oid)) this.giveUp(oid)
    const more = new Set<number>()
    for (const { attributes, base, element, oid, range, subtype } of this.entries.values()) {
      if (this.codecs.has(oid)) continue
      for (const part of [base, element, range, subtype, ...attributes.map((attribute) => attribute.oid)]) {
        if (part !== 0 && this.codec(part) === undefined && !this.entries.has(part)) more.add(part)
      }
    }
    if (more.size > 0) return Array.from(more)
    for (const oid of this.entries.keys()) this.build(oid)
    for (const { array, delimiter, name, oid } of this.entries.values()) {
      if (array === 0 || this.codecs.has(array)) continue
      this.codecs.set(array, arrayCodec(`${name}[]`, oid, this.codecs.get(oid)!, delimiter))
      this.builtArrays.add(array)
    }
    return []
  }

  /** A type that the catalogue does not explain. */
  private giveUp(oid: number): void {
    this.wanted.delete(oid)
    this.codecs.set(oid, onlyText(`type ${oid}`))
  }

  private readonly build = (oid: number): Codec<any> | undefined => {
    const known = this.codec(oid)
    const entry = this.entries.get(oid)
    if (known !== undefined || entry === undefined) return known
    const codec = this.choices[`${entry.schema}.${entry.name}`] ?? this.choices[entry.name] ?? this.make(entry)
    this.codecs.set(oid, codec)
    return codec
  }

  private make(entry: Exchange): Codec<any> {
    const { name, oid } = entry
    const part = (oid: number): Codec<any> => this.build(oid) ?? onlyText(`type ${oid}`)
    switch (entry.kind) {
      case "e":
        return textCodec(name)
      case "d":
        return part(entry.base)
      case "r":
        return rangeCodec(name, part(entry.subtype))
      case "m":
        return multirangeCodec(
          name,
          part(entry.range),
          part(this.entries.get(entry.range)?.subtype ?? 0)
        )
      case "c":
        return compositeCodec(name, entry.attributes, this.build, () => this.forget([oid]))
    }
    if (entry.element !== 0 && entry.send === "array_send") {
      return arrayCodec(name.replace(/^_(.*)$/, "$1[]"), entry.element, part(entry.element), entry.delimiter)
    }
    const extension = extensions[entry.send]
    if (extension !== undefined) return extension
    // A type that was made to look like one of PostgreSQL's own is sent by the same function.
    const like = builtinSends.get(entry.send)
    return like === undefined ? onlyText(name) : this.codec(like) ?? onlyText(name)
  }
}

/** What writes a type that users have made to look like it. */
const builtinSends = new Map<string, number>([
  ["boolsend", 16],
  ["byteasend", 17],
  ["int8send", 20],
  ["int2send", 21],
  ["int4send", 23],
  ["float4send", 700],
  ["float8send", 701],
  ["varcharsend", 25],
  ["bpcharsend", 25],
  ["uuid_send", 2950],
  ["numeric_send", 1700]
])

/** Whether the driver can read a type. It has no question for this, but encoding anything tells. */
export const driverKnows = (oid: number, registry: PgTypes.Registry | undefined): boolean => {
  if (builtinArrays.has(oid)) return false
  // A missing codec is reported before the value is looked at.
  try {
    const encoded = PgTypes.encode(undefined, oid, registry)
    return Result.isSuccess(encoded) || !encoded.failure.message.startsWith("No codec registered for OID")
  } catch {
    // A codec of the user's own that threw on the probe exists, which is all that was asked.
    return true
  }
}
