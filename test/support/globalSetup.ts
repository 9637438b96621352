/**
 * Runs once before all tests: gets ready to start the servers that the tests share, or takes those that the environment
 * names. A server is started when the first test asks for it, and ends with the run, however the run ends.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { TestProject } from "vitest/node"
import * as Redis from "../breaker/redis.ts"
import * as Browser from "./browser.ts"
import type { Need, SharedServer } from "./need.ts"
import { answer } from "./questions.ts"
import * as Binaries from "./servers/binaries.ts"
import {
  GaleraCluster,
  MariadbServer,
  MysqlServer,
  PatroniCluster,
  PgBouncer,
  PostgresServer,
  shareTemplates
} from "./servers/index.ts"
import type { ServerError } from "./servers/ServerError.ts"
import { temporaryFolder } from "./servers/ServerProcess.ts"
import * as Terminal from "./terminal.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** The folder of `questions.ts`. */
    readonly questions: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = Scope.makeUnsafe()
  const started = Effect.gen(function*() {
    yield* shareTemplates
    const folder = yield* temporaryFolder(undefined)
    yield* answer(folder, { ...programs, ...urls })
    return folder
  })
  project.provide("questions", await Effect.runPromise(Scope.provide(started, scope)))
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}

/** Where the programs are; they are downloaded where they can be. */
const programs: Record<Need, Effect.Effect<string, ServerError, Scope.Scope>> = {
  postgresql: Binaries.locate(PostgresServer.requirement),
  standby: Effect.andThen(Binaries.locate(PostgresServer.requirement), PostgresServer.canFollow),
  patroni: Effect.andThen(PostgresServer.canFollow, PatroniCluster.locate),
  pgbouncer: Binaries.locate(PgBouncer.requirement),
  mysql: Binaries.locate(MysqlServer.requirement),
  mariadb: Binaries.locate(MariadbServer.requirement),
  galera: Effect.andThen(Binaries.locate(MariadbServer.requirement), GaleraCluster.locate),
  "group-replication": Binaries.locate(MysqlServer.requirement),
  redis: Binaries.locate(Redis.requirement),
  tmux: Binaries.locate(Terminal.requirement),
  chromium: Binaries.locate(Browser.requirement)
}

const urlOf = <E, R>(variable: string, server: Effect.Effect<{ readonly url: string }, E, R>) =>
  Effect.suspend(() => {
    const given = process.env[variable]
    return given === undefined || given === "" ? Effect.map(server, (started) => started.url) : Effect.succeed(given)
  })

/** A user with all privileges on a server that all tests share. */
const urls: Record<`url-${SharedServer}`, Effect.Effect<string, ServerError, Scope.Scope>> = {
  "url-postgresql": urlOf("WATERTIGHT_TEST_POSTGRES_URL", PostgresServer.make()),
  "url-mysql": urlOf("WATERTIGHT_TEST_MYSQL_URL", MysqlServer.make()),
  "url-mariadb": urlOf("WATERTIGHT_TEST_MARIADB_URL", MariadbServer.make())
}
