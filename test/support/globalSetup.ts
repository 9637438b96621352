/**
 * Runs once before all tests: starts the servers that the tests share, or takes those that the environment names, and
 * tells the tests their URLs. What is started here ends with the run, however the run ends.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { TestProject } from "vitest/node"
import { MariadbServer, PostgresServer, shareTemplates } from "./servers/index.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** A PostgreSQL superuser's URL on a server that all tests share. */
    readonly postgresUrl: string
    /** The same for MariaDB. */
    readonly mariadbUrl: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = Scope.makeUnsafe()
  const servers = Effect.all({
    postgresUrl: urlOf("WATERTIGHT_TEST_POSTGRES_URL", PostgresServer.make()),
    mariadbUrl: urlOf("WATERTIGHT_TEST_MARIADB_URL", MariadbServer.make())
  }, { concurrency: "unbounded" })

  const started = await Effect.runPromiseExit(Effect.andThen(shareTemplates, servers).pipe(Scope.provide(scope)))
  if (Exit.isFailure(started)) {
    await Effect.runPromise(Scope.close(scope, started))
    throw Cause.squash(started.cause)
  }
  project.provide("postgresUrl", started.value.postgresUrl)
  project.provide("mariadbUrl", started.value.mariadbUrl)
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}

const urlOf = <E, R>(variable: string, server: Effect.Effect<{ readonly url: string }, E, R>) =>
  Effect.suspend(() => {
    const given = process.env[variable]
    return given === undefined || given === "" ? Effect.map(server, (started) => started.url) : Effect.succeed(given)
  })
