import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"

/** What is known of a template whose parameters are plain values: it always compiles to the same text. */
interface Plan<Known> {
  readonly text: string
  readonly known: Known
}

type Template = TemplateStringsArray

/** A statement that runs without having been put together from segments. */
interface Short<Known> extends Statement.Statement<unknown> {
  readonly strings: Template
  readonly args: Array<unknown>
  readonly plan: Plan<Known>
}

/**
 * The options of `shorten`.
 */
export interface Options<Known> {
  readonly transactionService: SqlClient.SqlClient["transactionService"]
  readonly transformRows: (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined
  /** What is kept with the text of a template. */
  readonly know: (text: string) => Known
  /** Runs a statement outside a transaction. */
  readonly run: (
    known: Known,
    text: string,
    params: ReadonlyArray<unknown>,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => Effect.Effect<ReadonlyArray<any>, SqlError>
}

/**
 * Gives a client a short way for the statements that are run most: a template whose parameters are plain values, while
 * no tracer listens and no transformer is set.
 *
 * Effect's own way puts each statement together from segments, compiles it, and makes a span with six attributes, which
 * costs more than the pool, the breaker and the protocol together. Everything that is not the common case goes there:
 * the short statement is one of Effect's own in every other respect, and becomes a full one when it is asked for more.
 */
export const shorten = <Known>(client: SqlClient.SqlClient, options: Options<Known>): SqlClient.SqlClient => {
  const { know, run, transactionService, transformRows } = options
  const plans = new WeakMap<Template, Plan<Known>>()

  const full = (statement: Short<Known>): Statement.Statement<any> =>
    client(statement.strings, ...statement.args as any)

  const sample = client`select 1`
  const common = Effectable.Prototype<Statement.Statement<any>>({
    label: "Statement",
    evaluate(fiber: Fiber.Fiber<any, any>) {
      const self = this as unknown as Short<Known>
      const { cache } = fiber
      if (
        (cache.tracer !== undefined && cache.tracerEnabled) ||
        fiber.getRef(Statement.CurrentTransformer) !== undefined
      ) {
        return full(self)
      }
      const { args, plan } = self
      const transaction = Context.getOrUndefined(fiber.context, transactionService)
      return transaction === undefined
        ? run(plan.known, plan.text, args, fiber)
        : transaction[0].execute(plan.text, args, transformRows)
    }
  })

  const ShortStatement = function(this: any, strings: Template, args: Array<unknown>, plan: Plan<Known>) {
    this.strings = strings
    this.args = args
    this.plan = plan
  } as unknown as new(strings: Template, args: Array<unknown>, plan: Plan<Known>) => Short<Known>
  ShortStatement.prototype = Object.create(Object.getPrototypeOf(sample), {
    ...Object.getOwnPropertyDescriptors(common),
    // What the getters of a full statement need besides its segments is the same for all of a client.
    ...Object.getOwnPropertyDescriptors(sample),
    // Plain parameters compile to the same text whatever they are, with and without a transform of names.
    compile: {
      value(this: Short<Known>) {
        return [this.plan.text, this.args]
      }
    },
    segments: {
      get(this: Short<Known>) {
        return full(this).segments
      }
    }
  })

  const sql = (strings: unknown, ...args: Array<any>): unknown => {
    if (!isTemplate(strings)) return client(strings as never)
    for (let i = 0; i < args.length; i++) {
      if (!isPlain(args[i])) return client(strings, ...args)
    }
    let plan = plans.get(strings)
    if (plan === undefined) {
      const text = client(strings, ...args).compile()[0]
      plan = { text, known: know(text) }
      plans.set(strings, plan)
    }
    return new ShortStatement(strings, args, plan)
  }
  const short: any = Object.assign(sql, client)
  short.safe = short
  return short
}

const isTemplate = (u: unknown): u is Template => Array.isArray(u) && "raw" in u

/** Whether a value is a parameter: neither a fragment nor a part of one. */
const isPlain = (u: unknown): boolean =>
  typeof u !== "object" || u === null ? typeof u !== "function" : !("_tag" in u) && !Statement.isFragment(u)
