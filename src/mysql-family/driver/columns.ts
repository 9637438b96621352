/** What the columns of a result are, whichever driver has described them. */

/** What has to be done to the values of a column. */
export const Kind = {
  /** Nothing. */
  Plain: 0,
  /** A `number` where it is exact, a `bigint` where it is not. */
  Integer: 1,
  Json: 2,
  Bytes: 3,
  Time: 4,
  DateTime: 5,
  /** A set that came as an array. */
  Set: 6,
  /** A `FLOAT`: text has its digits in decimal, so it is rounded to what the server has stored. */
  Float: 7,
  /** The numbers of a vector, as bytes. */
  Vector: 8,
  /** A geometry, in the form of GeoJSON or as the server stores it. */
  Geometry: 9
} as const
export type Kind = typeof Kind[keyof typeof Kind]

/** A column as far as its values and its name are concerned. */
export interface Column {
  readonly name: string
  readonly kind: Kind
  /** The digits after the point of a time, or more than 6 where the server does not say. */
  readonly decimals: number
}

/** The numbers that types have in the protocol. */
export const Type = {
  Decimal: 0,
  Tiny: 1,
  Short: 2,
  Long: 3,
  Float: 4,
  Double: 5,
  Null: 6,
  Timestamp: 7,
  LongLong: 8,
  Int24: 9,
  Date: 10,
  Time: 11,
  DateTime: 12,
  Year: 13,
  NewDate: 14,
  VarChar: 15,
  Bit: 16,
  Vector: 242,
  Json: 245,
  NewDecimal: 246,
  Enum: 247,
  Set: 248,
  TinyBlob: 249,
  MediumBlob: 250,
  LongBlob: 251,
  Blob: 252,
  VarString: 253,
  String: 254,
  Geometry: 255
} as const

/** The number of the collation `binary`. */
export const binaryCollation = 63

/** What a driver says of a column. */
export interface Described {
  readonly type: number
  readonly collation: number
  /** What MariaDB says beyond the type: `uuid`, `vector`, … */
  readonly typeName: string | undefined
  /** Whether MariaDB says that the text is JSON. */
  readonly isJson: boolean
  /** Whether it is a set, as the flags say. */
  readonly isSet: boolean
}

export const kindOf = (column: Described): Kind => {
  switch (column.type) {
    case Type.Decimal:
    case Type.Tiny:
    case Type.Short:
    case Type.Long:
    case Type.Double:
    case Type.Null:
    case Type.Int24:
    case Type.Date:
    case Type.NewDate:
    case Type.Year:
    case Type.NewDecimal:
      return Kind.Plain
    case Type.Float:
      return Kind.Float
    case Type.LongLong:
      return Kind.Integer
    case Type.Json:
      return Kind.Json
    case Type.Time:
      return Kind.Time
    case Type.DateTime:
    case Type.Timestamp:
      return Kind.DateTime
    case Type.Bit:
      return Kind.Bytes
    case Type.Vector:
      return Kind.Vector
    case Type.Geometry:
      return Kind.Geometry
  }
  if (column.isJson) return Kind.Json
  if (column.typeName === "vector") return Kind.Vector
  if (column.isSet) return Kind.Set
  // A type that is not known either is bytes, unless it has a character set.
  return column.collation === binaryCollation ? Kind.Bytes : Kind.Plain
}
