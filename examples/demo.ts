/**
 * `npm run demo`: what happens to money when the network does what networks do. Twenty seconds, next to plain `pg`.
 *
 * It starts a PostgreSQL server of its own, or uses the one that `DATABASE_URL` names: a table is made there, and dropped.
 * `-- quick` takes a few seconds. Without a terminal, or with NO_COLOR, it prints no colours.
 */
import * as Effect from "effect/Effect"
import pg from "pg"
import { FaultProxy } from "watertight/testing"
import { PostgresServer } from "../test/support/servers/index.ts"
import { type Client, type ClientOptions, plainPg, watertight } from "./demo/clients.ts"
import { type Finding, type Scene, scenes, type Sizes, type Stage } from "./demo/scenes.ts"

const isQuick = process.argv.includes("quick")
const sizes: Sizes = isQuick
  ? { transfers: 6, warmUpMillis: 100, loadMillis: 1_200, crowd: 300 }
  : { transfers: 24, warmUpMillis: 2_000, loadMillis: 4_000, crowd: 10_000 }

const hasColors = process.stdout.isTTY === true && (process.env["NO_COLOR"] ?? "") === ""
const paint = (code: number) => (text: string) => hasColors ? `\u001b[${code}m${text}\u001b[0m` : text
const [bold, green, red, dim] = [paint(1), paint(32), paint(31), paint(2)]

const tables = `
  drop table if exists booking, account;
  create table booking (id serial primary key, request text not null);
  create table account (id int primary key, cents bigint not null);
  insert into account values (1, 0)
`

const perform = async (
  scene: Scene,
  url: string,
  connect: (options: ClientOptions) => Client,
  admin: pg.Client
): Promise<ReadonlyArray<Finding>> =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(url)
    const stage: Stage = { proxy, connect, ask: async (sql) => (await admin.query(sql)).rows }
    yield* Effect.promise(() => admin.query(tables))
    return yield* Effect.promise(() => scene.run(stage, sizes))
  })))

/** The findings of both, side by side. */
const show = (
  title: string,
  results: ReadonlyArray<readonly [name: string, findings: ReadonlyArray<Finding>]>
): void => {
  console.log(`\n${bold(title)}\n`)
  const rows = results[0]![1].map((finding) => finding.what)
  const width = Math.max(...rows.map((row) => row.length)) + 2
  const column = 22
  console.log(`  ${"".padEnd(width)}${results.map(([name]) => name.padEnd(column)).join("").trimEnd()}`)
  for (const [i, what] of rows.entries()) {
    const cells = results.map(([, findings]) => {
      const { isGood, value } = findings[i]!
      // The mark says it too, for who sees no colours.
      const text = `${value}${isGood ? "" : "  ✗"}`
      return (isGood ? green : red)(text) + " ".repeat(Math.max(1, column - text.length))
    })
    console.log(`  ${what.padEnd(width)}${cells.join("").trimEnd()}`)
  }
}

const main = Effect.gen(function*() {
  const started = Date.now()
  const given = process.env["DATABASE_URL"]
  const url = given ?? (yield* PostgresServer.make()).url
  const admin = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) =>
      Effect.promise(async () => {
        await client.query("drop table if exists booking, account").catch(() => {})
        await client.end()
      })
  )
  for (const scene of scenes) {
    const results: Array<readonly [string, ReadonlyArray<Finding>]> = []
    for (const connect of [plainPg, watertight]) {
      const name = connect === plainPg ? "pg, with a retry" : "watertight"
      results.push([name, yield* Effect.promise(() => perform(scene, url, connect, admin))])
    }
    show(scene.title, results)
  }
  console.log(`\n${dim(`${Math.round((Date.now() - started) / 1000)} s. The scenes are in examples/demo/scenes.ts.`)}`)
})

await Effect.runPromise(Effect.scoped(main))
