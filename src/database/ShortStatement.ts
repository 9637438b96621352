import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import type { Connection } from "../Adapter.ts"
import * as callSite from "../failure/callSite.ts"
import type { Body } from "../pool/Pool.ts"
import { asArgument, markingClient, ours } from "../values/segments.ts"
import type { Namer } from "./spanName.ts"

/** What is known of a template whose parameters are plain values: it always compiles to the same text. */
export interface Plan<Known> {
  readonly strings: Template
  readonly text: string
  readonly known: Known
}

type Template = TemplateStringsArray

/** A statement that runs without having been put together from segments: what a connection is lent for. */
export interface Short<Known> extends Statement.Statement<unknown>, Body<ReadonlyArray<any>, SqlError> {
  readonly args: Array<unknown>
  readonly plan: Plan<Known>
}

/**
 * The options of `shorten`.
 */
export interface Options<Known> {
  readonly transactionService: SqlClient.SqlClient["transactionService"]
  readonly transformRows: (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined
  /** What names the spans of statements. */
  readonly namer: Namer
  /** What is kept with the text of a template. */
  readonly know: (text: string) => Known
  /** Runs a statement outside a transaction. */
  readonly run: (
    statement: Short<Known>,
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
  const { know, namer, run, transactionService, transformRows } = options
  const plans = new WeakMap<Template, Plan<Known>>()
  const sites = new WeakMap<Template, callSite.CallSite>()

  const full = (statement: Short<Known>): Statement.Statement<any> =>
    // Effect's type wants fragments. It takes any value for a parameter.
    client(statement.plan.strings, ...statement.args as any)

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
        return namer.effect(() => self.plan.text, full(self))
      }
      const { args, plan } = self
      const transaction = Context.getOrUndefined(fiber.context, transactionService)
      return transaction === undefined
        ? run(self, fiber)
        : transaction[0].execute(plan.text, args, transformRows)
    }
  })

  const ShortStatement = function(this: any, args: Array<unknown>, plan: Plan<Known>) {
    this.args = args
    this.plan = plan
  } as unknown as new(args: Array<unknown>, plan: Plan<Known>) => Short<Known>
  const effects = Object.getPrototypeOf(sample) as object
  ShortStatement.prototype = Object.create(effects, {
    ...Object.getOwnPropertyDescriptors(common),
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
    },
    runOn: {
      value(this: Short<Known>, connection: Connection) {
        return connection.execute(this.plan.text, this.args, transformRows)
      }
    },
    ...waysToRun(namer, full as (statement: object) => Statement.Statement<any>)
  })

  const NamedStatement = function(this: any, inner: Statement.Statement<any>, site: callSite.CallSite) {
    this.inner = inner
    this.site = site
  } as unknown as new(inner: Statement.Statement<any>, site: callSite.CallSite | undefined) => Named
  const innerOf = (named: object) => (named as Named).inner
  NamedStatement.prototype = Object.create(effects, {
    ...Object.getOwnPropertyDescriptors(Effectable.Prototype<Statement.Statement<any>>({
      label: "Statement",
      evaluate(fiber: Fiber.Fiber<any, any>) {
        const inner = located(this as unknown as Named)
        const { cache } = fiber
        return cache.tracer !== undefined && cache.tracerEnabled
          ? namer.effect(() => inner.compile()[0], inner)
          : inner
      }
    })),
    compile: {
      value(this: Named, withoutTransform?: boolean) {
        return this.inner.compile(withoutTransform)
      }
    },
    segments: {
      get(this: Named) {
        return this.inner.segments
      }
    },
    ...waysToRun(namer, innerOf)
  })

  const siteOf = (strings: Template): callSite.CallSite => {
    let site = sites.get(strings)
    if (site === undefined) sites.set(strings, site = callSite.capture(sql))
    return site
  }
  const sql = (strings: unknown, ...args: Array<any>): unknown => {
    if (!isTemplate(strings)) return ours(client(strings as never))
    for (let i = 0; i < args.length; i++) {
      if (!isPlain(args[i])) return new NamedStatement(client(strings, ...args.map(asArgument)), siteOf(strings))
    }
    let plan = plans.get(strings)
    if (plan === undefined) {
      const text = client(strings, ...args).compile()[0]
      callSite.note(text, callSite.capture(sql))
      plan = { strings, text, known: know(text) }
      plans.set(strings, plan)
    }
    return new ShortStatement(args, plan)
  }
  const unsafe = (text: string, params?: ReadonlyArray<unknown>) => {
    if (callSite.isNew(text)) callSite.note(text, callSite.capture(unsafe))
    return new NamedStatement(client.unsafe(text, params), undefined)
  }
  const short: any = Object.assign(sql, client, markingClient(client), { unsafe })
  short.safe = short
  return short
}

/** A statement that Effect has put together, whose span gets a name. */
interface Named extends Statement.Statement<unknown> {
  readonly inner: Statement.Statement<any>
  /** Where it is written. Its text is known when it runs. */
  readonly site: callSite.CallSite | undefined
}

const located = ({ inner, site }: Named): Statement.Statement<any> => {
  if (site !== undefined) callSite.note(inner.compile()[0], site)
  return inner
}

/** The other ways to run a statement, with spans that have its name. */
const waysToRun = (namer: Namer, innerOf: (statement: object) => Statement.Statement<any>): PropertyDescriptorMap => {
  const effect = (way: "raw" | "withoutTransform" | "values" | "valuesUnprepared" | "unprepared") => ({
    get(this: object) {
      const inner = innerOf(this)
      return namer.effect(() => inner.compile()[0], inner[way] as Effect.Effect<unknown, SqlError>)
    }
  })
  return {
    raw: effect("raw"),
    withoutTransform: effect("withoutTransform"),
    values: effect("values"),
    valuesUnprepared: effect("valuesUnprepared"),
    unprepared: effect("unprepared"),
    stream: {
      get(this: object) {
        const inner = innerOf(this)
        return namer.stream(() => inner.compile()[0], inner.stream)
      }
    }
  }
}

const isTemplate = (u: unknown): u is Template => Array.isArray(u) && "raw" in u

/** Whether a value is a parameter: neither a fragment nor a part of one. */
const isPlain = (u: unknown): boolean =>
  typeof u !== "object" || u === null ? typeof u !== "function" : !("_tag" in u) && !Statement.isFragment(u)
