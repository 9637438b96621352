#!/usr/bin/env node
/** The program `watertight`. What it needs of the platform is loaded here, and said how to be had if it is missing. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { readFileSync } from "node:fs"
import { Colors, Exit } from "./answer.ts"
import { runApp } from "./app.ts"
import { CurrentScreen, type Screen } from "./progress.ts"

const platform = await Promise.all([
  import("@effect/platform-node-shared/NodeChildProcessSpawner"),
  import("@effect/platform-node-shared/NodeFileSystem"),
  import("@effect/platform-node-shared/NodePath"),
  import("@effect/platform-node-shared/NodeRuntime"),
  import("@effect/platform-node-shared/NodeStdio"),
  import("@effect/platform-node-shared/NodeTerminal")
]).catch((error: unknown) => {
  const isMissing = (error as { readonly code?: string }).code === "ERR_MODULE_NOT_FOUND"
  console.error(
    isMissing
      ? "error: the command line needs one more package: npm install --save-dev @effect/platform-node-shared"
      : error
  )
  process.exit(Exit.usage)
})

const [Spawner, Files, Paths, Runtime, Stdio, Terminal] = platform

const services = Spawner.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(Files.layer, Paths.layer, Stdio.layer, Terminal.layer))
)

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string
}

const hasColors = process.stdout.isTTY && (process.env["NO_COLOR"] ?? "") === ""

const screen: Screen | undefined = process.stderr.isTTY
  ? { columns: () => process.stderr.columns, write: (text) => void process.stderr.write(text) }
  : undefined

runApp(version, process.argv.slice(2)).pipe(
  Effect.provideService(Colors, hasColors),
  Effect.provideService(CurrentScreen, screen),
  Effect.provide(services),
  // The standard output is for the answer.
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatSimple)])),
  Runtime.runMain
)
