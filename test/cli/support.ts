/** The program, as tests run it. */
import * as NodeChildProcessSpawner from "@effect/platform-node-shared/NodeChildProcessSpawner"
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem"
import * as NodePath from "@effect/platform-node-shared/NodePath"
import * as NodeStdio from "@effect/platform-node-shared/NodeStdio"
import * as NodeTerminal from "@effect/platform-node-shared/NodeTerminal"
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { CommandFailed } from "../../src/cli/answer.ts"
import { runApp } from "../../src/cli/app.ts"

/** The folder of the project. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

/** How a command ended. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const platform = NodeChildProcessSpawner.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer, NodeStdio.layer, NodeTerminal.layer))
)

/** The commands that look at files of migrations. */
const withDirectory = new Set(["migrate", "status", "new", "baseline", "repair", "lint", "drift"])

/** Runs a command, with what it prints. */
export const cli = (cwd: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.gen(function*(): Effect.fn.Return<Ended> {
    const printed = { stdout: "", stderr: "" }
    const console: Console.Console = {
      ...globalThis.console,
      log: (...texts) => void (printed.stdout += `${texts.join(" ")}\n`),
      error: (...texts) => void (printed.stderr += `${texts.join(" ")}\n`)
    }
    const all = args.includes("-d") || !withDirectory.has(args[0]!)
      ? args
      : [...args, "-d", path.join(cwd, "migrations")]
    const exit = yield* Effect.exit(
      runApp("0.0.0", all).pipe(
        Effect.provideService(Console.Console, console),
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env)),
        Effect.provide(Layer.merge(platform, Logger.layer([])))
      )
    )
    if (Exit.isSuccess(exit)) return { code: 0, ...printed }
    const error = Cause.squash(exit.cause)
    if (!(error instanceof CommandFailed)) return yield* Effect.die(error)
    return { code: error.exitCode, ...printed }
  })

/** The same in a process of its own. */
export const program = (args: ReadonlyArray<string>) =>
  Effect.callback<Ended>((resume) => {
    execFile(
      path.join(root, "node_modules/node/bin/node"),
      ["--conditions=watertight-source", path.join(root, "src/cli/main.ts"), ...args],
      { env: { PATH: process.env["PATH"] ?? "" } },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error === null ? 0 : Number(error.code), stdout, stderr }))
    )
  })

/** A folder that is gone with the scope. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "watertight-cli-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

/** Writes a migration. */
export const write = (cwd: string, name: string, text: string) => {
  fs.mkdirSync(path.join(cwd, "migrations"), { recursive: true })
  fs.writeFileSync(path.join(cwd, "migrations", name), text)
}
