/**
 * Statements with very many parameters. Effect's compiler appends the values of a list with `push.apply`, which ends in
 * a `RangeError` at some hundred thousand of them: a defect where an error of the database would do.
 */
import * as Equal from "effect/Equal"
import * as Statement from "effect/sql/Statement"

/** How many values of one list the compiler is given at once. */
const maxList = 10_000

export type Compile = Statement.Compiler["compile"]

/** A compiler around another one. It equals only itself: who hashes a statement does not look into its compiler. */
class Wrapped implements Statement.Compiler {
  readonly dialect: Statement.Compiler["dialect"]
  readonly compile: Compile
  private readonly inner: Statement.Compiler
  private readonly wrap: (inner: Statement.Compiler) => Compile

  constructor(inner: Statement.Compiler, wrap: (inner: Statement.Compiler) => Compile) {
    this.dialect = inner.dialect
    this.compile = wrap(inner)
    this.inner = inner
    this.wrap = wrap
    // Each `withoutTransform` is a new wrapper, so a structural hash would not end.
    Equal.byReferenceUnsafe(this)
  }

  get withoutTransform(): this {
    return new Wrapped(this.inner.withoutTransform, this.wrap) as this
  }
}

/** A compiler that does something before or after another one. */
export const wrapped = (
  compiler: Statement.Compiler,
  wrap: (inner: Statement.Compiler) => Compile
): Statement.Compiler => new Wrapped(compiler, wrap)

/** A compiler that compiles the same, whatever the length of the lists. */
export const withManyParameters = (compiler: Statement.Compiler): Statement.Compiler =>
  new Wrapped(compiler, (inner) => (statement, withoutTransform) => {
    const { segments } = statement
    const first = segments[0]
    return segments.length === 1 && first?._tag === "Literal"
      ? [first.value, first.params ?? []]
      : inner.compile(segments.some(isLong) ? spread(statement) : statement, withoutTransform)
  })

const isLong = (segment: Statement.Segment): boolean => segment._tag === "ArrayHelper" && segment.value.length > maxList

/** Makes a parameter of each value of a long list. */
const spread = (statement: Statement.Fragment): Statement.Fragment => {
  const segments: Array<Statement.Segment> = []
  for (const segment of statement.segments) {
    if (segment._tag !== "ArrayHelper" || segment.value.length <= maxList) {
      segments.push(segment)
      continue
    }
    for (let index = 0; index < segment.value.length; index++) {
      segments.push(Statement.literal(index === 0 ? "(" : ","), Statement.parameter(segment.value[index]))
    }
    segments.push(Statement.literal(")"))
  }
  return Statement.fragment(segments as never)
}

/**
 * A compiler for a server that takes a fixed number of parameters. A statement with more is not compiled, which may take
 * long or end in the `RangeError`: it gets as many parameters as it would have, and is refused for their number.
 */
export const withAtMost = (max: number, compiler: Statement.Compiler): Statement.Compiler =>
  new Wrapped(compiler, (inner) => (statement, withoutTransform) => {
    const count = countOf(statement)
    return count <= max
      ? inner.compile(statement, withoutTransform)
      : [`${firstText(statement)}…`, new Array<unknown>(count)]
  })

const countOf = ({ segments }: Statement.Fragment): number => {
  let count = 0
  for (const segment of segments) {
    if (segment._tag === "ArrayHelper") count += segment.value.length
    else if (segment._tag === "RecordInsertHelper" || segment._tag === "RecordUpdateHelper") {
      count += segment.value.length * Object.keys(segment.value[0] ?? {}).length
    } else if (segment._tag === "Parameter") count++
    else if (segment._tag === "Literal") count += segment.params?.length ?? 0
  }
  return count
}

const firstText = ({ segments: [first] }: Statement.Fragment): string => first?._tag === "Literal" ? first.value : ""
