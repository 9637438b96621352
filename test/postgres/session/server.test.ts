import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Server } from "watertight/postgres"
import { database } from "../clientSupport.ts"
import { eventually } from "../support.ts"

const raise = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql.unsafe(`do $$ begin
    raise notice 'a notice'; raise warning 'a warning' using hint = 'a hint', errcode = '01234'; raise debug 'quiet';
  end $$`)
})

it.layer(database(), { excludeTestServices: true })("the server", (it) => {
  it.effect("notices as a stream", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(Server.notices, 2)), {
        startImmediately: true
      })
      yield* raise
      const notices = yield* Fiber.join(fiber)
      assert.deepStrictEqual(notices.map(({ code, hint, message, severity }) => [severity, code, message, hint]), [
        ["NOTICE", "00000", "a notice", undefined],
        ["WARNING", "01234", "a warning", "a hint"]
      ])
      assert.match(notices[0]!.connectionId, /^\d+$/)
    }))

  it.effect("notices as logs", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        logged.push(`${logLevel} ${message}`)
      })
      yield* Effect.gen(function*() {
        yield* eventually(Effect.as(raise, true))
        yield* eventually(Effect.andThen(raise, Effect.sync(() => logged.length >= 2)))
      }).pipe(Effect.provide(Server.layerLog.pipe(Layer.provideMerge(Logger.layer([logger])))))
      assert.include(logged, "Info a notice")
      assert.include(logged, "Warn a warning")
    }))

  it.effect("parameters, settings and the version", () =>
    Effect.gen(function*() {
      const parameters = yield* Server.parameters
      assert.strictEqual(parameters.get("client_encoding"), "UTF8")
      assert.match(parameters.get("server_version")!, /^\d+/)
      assert.strictEqual(yield* Server.setting("standard_conforming_strings"), "on")
      assert.strictEqual(yield* Server.setting("no.such_setting"), undefined)
      assert.isAtLeast(yield* Server.version, 120_000)
    }))
})
