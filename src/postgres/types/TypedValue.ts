import * as PgTypes from "@effect/sql-pg/PgTypes"

/** How a parameter is sent whose type was named. */
export const Sent = {
  /** As a value of the type. */
  Whole: "Whole",
  /** As an array whose elements must not be arrays: PostgreSQL would take those for further dimensions. */
  Elements: "Elements",
  /** As an array of the texts of values of the type, which the statement casts one by one. */
  Texts: "Texts"
} as const
export type Sent = typeof Sent[keyof typeof Sent]

/** A parameter whose type was named. */
export class TypedValue {
  readonly [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId = PgTypes.ParameterTypeId
  readonly oid = 0
  readonly type: string
  readonly value: unknown
  readonly sent: Sent

  constructor(type: string, value: unknown, sent: Sent = Sent.Whole) {
    this.type = type
    this.value = value
    this.sent = sent
  }
}

const name = String.raw`(?:"(?:[^"\0]|"")+"|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)`
const typeName = new RegExp(
  String.raw`^${name}(?:\.${name}){0,2}(?: [A-Za-z]+)*(?:\(\d+(?:, ?\d+)?\))?(?: [A-Za-z]+)*(?:\[\d*\])*$`
)

/** Whether a text is the name of a type and nothing else, so that it may stand in a statement. */
export const isTypeName = (text: string): boolean => typeName.test(text)
