/** The types that PostgreSQL itself has, under the numbers that they have everywhere. */
import type { Codec } from "./Codec.ts"
import { bits, pgLsn, tid } from "./scalars/bits.ts"
import { box, circle, line, lseg, path, point, polygon } from "./scalars/geometry.ts"
import { json, jsonb } from "./scalars/json.ts"
import { macaddr } from "./scalars/network.ts"
import { float4, float8, int2, int4, int8, numeric, unsigned, xid8 } from "./scalars/number.ts"
import { viaBinary } from "./scalars/primitives.ts"
import { bool, bytea, charCodec, onlyText, textCodec, versionedText } from "./scalars/text.ts"
import { date, interval, time, timestampCodec, timetz } from "./scalars/time.ts"

/** A type that PostgreSQL itself has, under the number that it has everywhere. */
export interface Builtin {
  readonly oid: number
  readonly array: number
  readonly name: string
  readonly codec: Codec<any>
}

const builtin = (oid: number, array: number, codec: Codec<any>, name = codec.name): Builtin => ({
  oid,
  array,
  name,
  codec
})

/** All scalar types. Those that the server alone understands travel as text. */
export const builtins: ReadonlyArray<Builtin> = [
  builtin(16, 1000, bool),
  builtin(17, 1001, bytea),
  builtin(18, 1002, charCodec, "\"char\""),
  builtin(19, 1003, textCodec("name")),
  builtin(20, 1016, int8),
  builtin(21, 1005, int2),
  builtin(23, 1007, int4),
  builtin(24, 1008, onlyText("regproc")),
  builtin(25, 1009, textCodec("text")),
  builtin(26, 1028, unsigned("oid")),
  builtin(27, 1010, tid),
  builtin(28, 1011, unsigned("xid")),
  builtin(29, 1012, unsigned("cid")),
  builtin(114, 199, json),
  builtin(142, 143, textCodec("xml")),
  builtin(194, 0, onlyText("pg_node_tree")),
  builtin(600, 1017, point),
  builtin(601, 1018, lseg),
  builtin(602, 1019, path),
  builtin(603, 1020, box),
  builtin(604, 1027, polygon),
  builtin(628, 629, line),
  builtin(650, 651, viaBinary(650, "cidr")),
  builtin(700, 1021, float4),
  builtin(701, 1022, float8),
  builtin(705, 0, textCodec("unknown")),
  builtin(718, 719, circle),
  builtin(774, 775, macaddr("macaddr8", 8)),
  builtin(790, 791, onlyText("money")),
  builtin(829, 1040, macaddr("macaddr", 6)),
  builtin(869, 1041, viaBinary(869, "inet")),
  builtin(1033, 1034, onlyText("aclitem")),
  builtin(1042, 1014, textCodec("bpchar")),
  builtin(1043, 1015, textCodec("varchar")),
  builtin(1082, 1182, date),
  builtin(1083, 1183, time),
  builtin(1114, 1115, timestampCodec("timestamp")),
  builtin(1184, 1185, timestampCodec("timestamptz")),
  builtin(1186, 1187, interval),
  builtin(1266, 1270, timetz),
  builtin(1560, 1561, bits("bit")),
  builtin(1562, 1563, bits("varbit")),
  builtin(1700, 1231, numeric),
  builtin(1790, 2201, textCodec("refcursor")),
  builtin(2202, 2207, onlyText("regprocedure")),
  builtin(2203, 2208, onlyText("regoper")),
  builtin(2204, 2209, onlyText("regoperator")),
  // The driver reads its number, which the others have as names.
  builtin(2205, 2210, {
    ...unsigned("regclass"),
    parse: (text) => (/^\d+$/.test(text) ? Number(text) : text) as number
  }),
  builtin(2206, 2211, onlyText("regtype")),
  builtin(2275, 1263, textCodec("cstring")),
  builtin(2278, 0, textCodec("void")),
  builtin(2950, 2951, viaBinary(2950, "uuid")),
  builtin(2970, 2949, onlyText("txid_snapshot")),
  builtin(3220, 3221, pgLsn),
  builtin(3614, 3643, onlyText("tsvector")),
  builtin(3615, 3645, onlyText("tsquery")),
  builtin(3642, 3644, onlyText("gtsvector")),
  builtin(3734, 3735, onlyText("regconfig")),
  builtin(3769, 3770, onlyText("regdictionary")),
  builtin(3802, 3807, jsonb),
  builtin(4072, 4073, versionedText("jsonpath")),
  builtin(4089, 4090, onlyText("regnamespace")),
  builtin(4096, 4097, onlyText("regrole")),
  builtin(4191, 4192, onlyText("regcollation")),
  builtin(5038, 5039, onlyText("pg_snapshot")),
  builtin(5069, 271, xid8)
]

/** Ranges that PostgreSQL itself has: the range, its array, the multirange, its array, and what they are made of. */
export const builtinRanges: ReadonlyArray<readonly [number, number, number, number, number, string]> = [
  [3904, 3905, 4451, 6150, 23, "int4"],
  [3906, 3907, 4532, 6151, 1700, "num"],
  [3908, 3909, 4533, 6152, 1114, "ts"],
  [3910, 3911, 4534, 6153, 1184, "tstz"],
  [3912, 3913, 4535, 6155, 1082, "date"],
  [3926, 3927, 4536, 6157, 20, "int8"]
]

/** The vectors of the catalogues: arrays that count from 0. */
export const vectors: ReadonlyArray<readonly [oid: number, array: number, element: number, name: string]> = [
  [22, 1006, 21, "int2vector"],
  [30, 1013, 26, "oidvector"]
]

const scalarNames = new Set([
  ...builtins.map(({ name }) => name),
  ...builtinRanges.flatMap(([, , , , , prefix]) => [`${prefix}range`, `${prefix}multirange`])
])

/** Whether a type is one of PostgreSQL's own, and no array to it. */
export const isBuiltinScalar = (name: string): boolean => scalarNames.has(name)
