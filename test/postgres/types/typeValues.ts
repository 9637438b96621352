/** Random values of PostgreSQL's types, in the form that the server gives them back. */
import { Types } from "watertight/postgres"
import type { Seed } from "../../support/index.ts"

type Make = (random: Seed) => unknown

const chars = [
  "a",
  "Z",
  "0",
  " ",
  "\"",
  "'",
  "\\",
  ",",
  "{",
  "}",
  "(",
  ")",
  "[",
  "]",
  "\n",
  "\t",
  "\r",
  ";",
  ":",
  "NULL"
]
const wide = ["é", "漢", "💧", "\u00a0", "\ufffd", "\u200d"]

export const text: Make = (random) =>
  Array.from({ length: random.int(0, 8) }, () => random.pick(random.chance(0.2) ? wide as never : chars as never)).join(
    ""
  )

const key = (random: Seed): string => `${random.pick(["a", "b c", "__proto__", "\"", "=>", "ü"])}${random.int(0, 3)}`

const bigint = (random: Seed, bits: number): bigint => {
  const edge = random.int(0, 5)
  const top = 2n ** BigInt(bits - 1)
  if (edge === 0) return top - 1n
  if (edge === 1) return -top
  const value = BigInt(random.int(0, 0x7fffffff)) * BigInt(random.int(0, 0x7fffffff)) % top
  return random.chance(0.5) ? value : -value
}

const integer = (min: number, max: number): Make => (random) =>
  random.chance(0.2) ? random.pick([min, max, 0, 1]) : random.int(min, max)

const float = (random: Seed): number =>
  random.chance(0.2)
    ? random.pick([0, -0, NaN, Infinity, -Infinity, 5e-324, 1.7976931348623157e308])
    : (random.next() - 0.5) * 10 ** random.int(-20, 20)

const finite = (random: Seed): number => random.chance(0.2) ? random.pick([0, -0, 1e300]) : (random.next() - 0.5) * 1000

const float4: Make = (random) => Math.fround(random.chance(0.2) ? float(random) : (random.next() - 0.5) * 1e6)

const digits = (random: Seed, length: number): string => Array.from({ length }, () => random.int(0, 9)).join("")

const numeric = (random: Seed): string => {
  if (random.chance(0.1)) return random.pick(["NaN", "Infinity", "-Infinity", "0", "0.000"])
  const whole = `${random.int(1, 9)}${digits(random, random.int(0, 30))}`
  const fraction = random.chance(0.5) ? `.${digits(random, random.int(1, 30))}` : ""
  return `${random.chance(0.5) ? "-" : ""}${whole}${fraction}`
}

const json = (random: Seed, depth = 0): unknown => {
  switch (random.int(0, depth > 2 ? 4 : 6)) {
    case 0:
      return null
    case 1:
      return random.chance(0.5)
    case 2:
      return random.int(-1e9, 1e9) / 8
    case 3:
    case 4:
      return text(random)
    case 5:
      return Array.from({ length: random.int(0, 3) }, () => json(random, depth + 1))
    default:
      return Object.fromEntries(Array.from({ length: random.int(0, 3) }, () => [key(random), json(random, depth + 1)]))
  }
}

const pad = (value: number, size = 2): string => String(value).padStart(size, "0")

const date = (random: Seed): string => {
  if (random.chance(0.1)) return random.pick(["infinity", "-infinity", "-4712-11-24", "0000-02-29", "5874897-12-31"])
  const year = random.chance(0.2) ? random.int(-4000, 20_000) : random.int(1900, 2100)
  const text = year < 0 ? `-${pad(-year, 4)}` : pad(year, 4)
  return `${text}-${pad(random.int(1, 12))}-${pad(random.int(1, 28))}`
}

const timestamp = (random: Seed): Date | number =>
  random.chance(0.1)
    ? random.pick([Infinity, -Infinity])
    : new Date(
      random.chance(0.2)
        ? Math.floor((random.next() - 0.02) * 8e15)
        : random.int(-2_000_000, 4_000_000) * 1_000_000 + 123
    )

const micros = (random: Seed): bigint => BigInt(random.int(0, 86_399)) * 1_000_000n + BigInt(random.int(0, 999_999))

const timetz = (random: Seed): string => {
  const fraction = random.chance(0.5) ? "" : `.${random.int(1, 9)}`
  const zone = `${random.pick(["+", "-"])}${pad(random.int(1, 15))}:${pad(random.int(0, 59))}`
  const seconds = random.chance(0.2) ? `:${pad(random.int(1, 59))}` : ""
  return `${pad(random.int(0, 23))}:${pad(random.int(0, 59))}:${pad(random.int(0, 59))}${fraction}${zone}${seconds}`
}

const interval: Make = (random) => ({
  months: random.int(-1_000_000, 1_000_000),
  days: random.int(-1_000_000, 1_000_000),
  microseconds: bigint(random, 50)
})

const hex = (random: Seed, bytes: number): ReadonlyArray<string> =>
  Array.from({ length: bytes }, () => pad(random.int(0, 255).toString(16) as never))

const uuid: Make = (random) => hex(random, 16).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")

const bytes: Make = (random) => Uint8Array.from({ length: random.int(0, 12) }, () => random.int(0, 255))

const ip = (random: Seed): string => Array.from({ length: 4 }, () => random.int(0, 255)).join(".")

const inet: Make = (random) =>
  random.chance(0.3)
    ? random.pick(["::1", "2001:db8::8a2e:370:7334", "fe80::1/64"])
    : random.chance(0.5)
    ? ip(random)
    : `${ip(random)}/${random.int(0, 31)}`

const cidr: Make = (random) =>
  random.pick(["10.0.0.0/8", "192.168.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.1.2.3/32"])

const bits = (length: number, random: Seed): string => Array.from({ length }, () => random.int(0, 1)).join("")

const point = (random: Seed) => ({ x: finite(random), y: finite(random) })
const points = (random: Seed) => Array.from({ length: random.int(1, 5) }, () => point(random))

const box: Make = (random) => {
  const [a, b] = [point(random), point(random)]
  return [
    { x: Math.max(a.x, b.x), y: Math.max(a.y, b.y) },
    { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y) }
  ]
}

/** A range of a type whose values follow each other, as the server writes it. */
const range = (random: Seed, value: (n: number) => unknown): Types.Range<unknown> => {
  if (random.chance(0.1)) return Types.emptyRange
  const lower = random.int(0, 500)
  const from = random.chance(0.2) ? null : value(lower)
  const to = random.chance(0.2) ? null : value(lower + random.int(1, 500))
  return Types.range(from, to, from === null ? "()" : "[)")
}

/** Ranges that do not touch each other, in order. */
const multirange = (random: Seed, value: (n: number) => unknown): ReadonlyArray<Types.Range<unknown>> => {
  let at = 0
  return Array.from({ length: random.int(0, 3) }, () => {
    const from = at + random.int(2, 50)
    at = from + random.int(1, 50)
    return Types.range(value(from), value(at))
  })
}

const rangeValues: Record<string, (n: number) => unknown> = {
  int4: (n) => n,
  int8: (n) => BigInt(n) * 1000n,
  num: (n) => `${n}.5`,
  ts: (n) => new Date(n * 1_000_000_000),
  tstz: (n) => new Date(n * 1_000_000_000 + 1),
  date: (n) => new Date(Date.UTC(2000, 0, 1 + n)).toISOString().slice(0, 10)
}

/** The types that a value can be made for. */
export const makers: Record<string, Make> = {
  bool: (random) => random.chance(0.5),
  bytea: bytes,
  "\"char\"": (random) => random.pick(["", "a", "Z", "~", "'", "\\"]),
  name: (random) => text(random),
  int8: (random) => bigint(random, 64),
  int2: integer(-32768, 32767),
  int2vector: (random) => Array.from({ length: random.int(0, 4) }, () => random.int(-9, 9)),
  int4: integer(-2147483648, 2147483647),
  regproc: (random) => random.pick(["now", "-"]),
  text,
  oid: integer(0, 4294967295),
  tid: (random) => `(${random.int(0, 4294967295)},${random.int(0, 65535)})`,
  xid: integer(0, 4294967295),
  cid: integer(0, 4294967295),
  oidvector: (random) => Array.from({ length: random.int(0, 4) }, () => random.int(0, 4294967295)),
  json: (random) => json(random),
  jsonb: (random) => json(random),
  xml: (random) => random.pick(["<a b=\"c\">é</a>", "text", "<x/>"]),
  point,
  lseg: (random) => [point(random), point(random)],
  path: (random) => ({ closed: random.chance(0.5), points: points(random) }),
  box,
  polygon: points,
  line: (random) => ({ a: random.int(1, 99), b: finite(random), c: finite(random) }),
  cidr,
  float4,
  float8: float,
  circle: (random) => ({ ...point(random), radius: random.int(0, 100) }),
  macaddr8: (random) => hex(random, 8).join(":"),
  money: (random) => random.pick(["$1,234.56", "-$0.01", "$0.00"]),
  macaddr: (random) => hex(random, 6).join(":"),
  inet,
  aclitem: (random) => random.pick(["=r/postgres", "postgres=arwdDxt/postgres"]),
  bpchar: (random) => text(random),
  varchar: (random) => text(random),
  date,
  time: micros,
  timestamp,
  timestamptz: timestamp,
  interval,
  timetz,
  bit: (random) => bits(1, random),
  varbit: (random) => bits(random.int(0, 20), random),
  numeric,
  refcursor: text,
  regprocedure: (random) => random.pick(["now()", "-"]),
  regoper: (random) => random.pick(["||/", "0"]),
  regoperator: (random) => random.pick(["+(integer,integer)", "0"]),
  regclass: (random) => random.pick([4123456, 4123457]),
  regtype: (random) => random.pick(["integer", "timestamp with time zone", "-"]),
  regconfig: (random) => random.pick(["english", "simple"]),
  regdictionary: (random) => random.pick(["simple", "english_stem"]),
  regrole: (random) => random.pick(["postgres", "-"]),
  regnamespace: (random) => random.pick(["pg_catalog", "-"]),
  regcollation: (random) => random.pick(["\"C\"", "-"]),
  uuid,
  txid_snapshot: (random) => random.pick(["10:20:10,14,15", "1:1:"]),
  pg_snapshot: (random) => random.pick(["10:20:10,14,15", "1:1:"]),
  pg_lsn: (random) =>
    `${random.int(0, 4294967295).toString(16)}/${random.int(0, 4294967295).toString(16)}`.toUpperCase(),
  tsvector: (random) => random.pick(["'a':1A 'b':2", "'it''s' 'x'", ""]),
  tsquery: (random) => random.pick(["'a' & 'b'", "'a' <-> 'b' | !'c'"]),
  jsonpath: (random) => random.pick(["$.\"a\"", "strict $.\"a\"[*]?(@ > 1)"]),
  xid8: (random) => BigInt.asUintN(64, bigint(random, 64)),
  ...Object.fromEntries(
    Object.entries(rangeValues).flatMap(([prefix, value]) => [
      [`${prefix}range`, (random: Seed) => range(random, value)],
      [`${prefix}multirange`, (random: Seed) => multirange(random, value)]
    ])
  )
}

/** Types without an input, and types that are none of a value's: they can be read where they turn up. */
export const unmakable: ReadonlyArray<string> = [
  "pg_node_tree",
  "pg_ndistinct",
  "pg_dependencies",
  "pg_mcv_list",
  "pg_brin_bloom_summary",
  "pg_brin_minmax_multi_summary",
  "gtsvector"
]

/** Types of the users' own, made in the database of the test. */
export const ownTypes = `
create extension if not exists hstore;
create extension if not exists citext;
create extension if not exists ltree;
create type mood as enum ('sad', 'it''s', 'a,b', 'NULL', 'ha"ppy', '');
create domain small as int check (value < 100);
create domain small_moods as mood[];
create type inner_type as (a int, "b ""c" text, at timestamptz);
create type outer_type as (head inner_type, tails inner_type[], m mood, s small, span int4range);
create type textual as (a int, words tsvector);
create type moodrange as range (subtype = text);
create table "Ta.ble" (id int, "col umn" text, dropped int, m mood);
alter table "Ta.ble" drop column dropped;
`

const pick = (random: Seed, make: Make): unknown => random.chance(0.2) ? null : make(random)
const mood: Make = (random) => random.pick(["sad", "it's", "a,b", "NULL", "ha\"ppy", ""])
const inner: Make = (random) => ({
  a: pick(random, makers["int4"]!),
  "b \"c": pick(random, text),
  at: pick(random, timestamp)
})

export const ownMakers: Record<string, Make> = {
  mood,
  small: (random) => random.int(-100, 99),
  small_moods: (random) => Array.from({ length: random.int(0, 3) }, () => pick(random, mood)),
  inner_type: inner,
  outer_type: (random) => ({
    head: pick(random, inner),
    tails: pick(random, (random) => Array.from({ length: random.int(0, 3) }, () => pick(random, inner))),
    m: pick(random, mood),
    s: random.int(0, 99),
    span: range(random, rangeValues["int4"]!)
  }),
  textual: (random) => ({ a: random.int(0, 9), words: random.pick(["'a'", "'a' 'b'"]) }),
  moodrange: (random) => random.pick([Types.emptyRange, Types.range("a,\"\\", "b]"), Types.range("a", null, "()")]),
  moodmultirange: (random) => random.chance(0.3) ? [] : [Types.range("a,\"", "b c"), Types.range("x", null)],
  hstore: (random) =>
    Object.fromEntries(Array.from({ length: random.int(0, 4) }, () => [key(random), pick(random, text)])),
  citext: text,
  ltree: (random) => random.pick(["a.b.c", "", "Top.Science"]),
  "\"Ta.ble\"": (random) => ({ id: random.int(0, 9), "col umn": pick(random, text), m: pick(random, mood) })
}
