/** Processes, folders and ports of throwaway servers; nothing here knows which server it is. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type ChildProcess, execFileSync, spawn as spawnChild } from "node:child_process"
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import type { Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { alive, descendants, signal } from "./processes.ts"
import type { ReaperMessage } from "./reaper.ts"
import { live, ServerError, within } from "./ServerError.ts"

// -----------------------------------------------------------------------------
// The reaper
// -----------------------------------------------------------------------------

let reaper: Writable | undefined

const tellReaper = (message: ReaperMessage): void => {
  if (reaper === undefined) {
    const script = fileURLToPath(new URL("./reaper.ts", import.meta.url))
    const child = spawnChild(process.execPath, [script], {
      detached: true,
      stdio: ["pipe", "ignore", "inherit"],
      cwd: "/",
      env: {}
    })
    // Nothing of it keeps our event loop alive: its whole point is to notice that we are gone.
    child.unref()
    const stdin = child.stdin!
    ;(stdin as net.Socket).unref()
    stdin.on("error", () => {})
    reaper = stdin
  }
  reaper.write(JSON.stringify(message) + "\n")
}

// -----------------------------------------------------------------------------
// Users
// -----------------------------------------------------------------------------

/** The user that a server runs as when we are root; `undefined` when we are not, and it runs as ourselves. */
export type Identity = { readonly uid: number; readonly gid: number } | undefined

/** The first of the users that exists, when we are root. Database servers refuse to run as root. */
export const identityOf = (...users: ReadonlyArray<string>): Identity => {
  if (process.getuid?.() !== 0) {
    return undefined
  }
  for (const user of users) {
    try {
      const id = (flag: string) => Number(execFileSync("id", [flag, user], { stdio: ["ignore", "pipe", "ignore"] }))
      return { uid: id("-u"), gid: id("-g") }
    } catch {
      // No such user: try the next.
    }
  }
  return undefined
}

// -----------------------------------------------------------------------------
// Folders
// -----------------------------------------------------------------------------

/**
 * A temporary folder that belongs to the given user and goes with the scope, or with the process. Its path is short,
 * because the path of a Unix socket must fit into about a hundred bytes.
 */
export const temporaryFolder = (identity: Identity): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      // Root's own TMPDIR may be closed to the user that the server runs as.
      const folder = fs.mkdtempSync(path.join(identity === undefined ? os.tmpdir() : "/tmp", "watertight-"))
      tellReaper({ keep: folder })
      own(folder, identity)
      return folder
    }),
    (folder) =>
      Effect.sync(() => {
        fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
        tellReaper({ drop: folder })
      })
  )

/** Gives a file or folder to the user that the server runs as. */
export const own = (file: string, identity: Identity): void => {
  if (identity !== undefined) {
    fs.chownSync(file, identity.uid, identity.gid)
  }
}

const templatesVariable = "WATERTIGHT_TEST_TEMPLATES"

let templatesOfProcess: string | undefined

/**
 * Makes a folder of templates and lets this process and those that it starts use it: one `initdb` for a whole run of
 * tests. Without it every process has its own. A folder that the environment names stays for the runs that follow.
 */
export const shareTemplates: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function*() {
  const given = process.env[templatesVariable]
  if (given !== undefined && fs.existsSync(given)) return
  const folder = yield* temporaryFolder(undefined)
  fs.chmodSync(folder, 0o755)
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      process.env[templatesVariable] = folder
    }),
    () =>
      Effect.sync(() => {
        delete process.env[templatesVariable]
      })
  )
})

const templatesFolder = (): string => {
  const shared = process.env[templatesVariable]
  if (shared !== undefined && fs.existsSync(shared)) {
    return shared
  }
  if (templatesOfProcess === undefined) {
    templatesOfProcess = fs.mkdtempSync(path.join(process.getuid?.() === 0 ? "/tmp" : os.tmpdir(), "watertight-"))
    fs.chmodSync(templatesOfProcess, 0o755)
    tellReaper({ keep: templatesOfProcess })
  }
  return templatesOfProcess
}

/**
 * Copies the template called `name` to `target`, after making it with `create` when it is the first time.
 */
export const copyTemplate = Effect.fnUntraced(function*(options: {
  readonly name: string
  /** What makes it: each version of a server has a template of its own. */
  readonly program: string
  readonly target: string
  readonly identity: Identity
  readonly create: (folder: string) => Effect.Effect<unknown, ServerError>
}): Effect.fn.Return<void, ServerError> {
  const version = createHash("sha256").update(options.program).digest("hex").slice(0, 8)
  const template = path.join(templatesFolder(), `${options.name}-${version}`)
  if (!fs.existsSync(template)) {
    const draft = fs.mkdtempSync(template + ".")
    own(draft, options.identity)
    yield* options.create(path.join(draft, "data"))
    // Two test files may get here at once. Renaming is atomic, and both drafts are equally good.
    try {
      fs.renameSync(draft, template)
    } catch {
      fs.rmSync(draft, { recursive: true, force: true })
    }
  }
  // `cp` is several times faster than Node's own copy of a thousand files.
  yield* run("cp", ["-Rp", path.join(template, "data"), options.target], { identity: options.identity })
})

// -----------------------------------------------------------------------------
// Ports
// -----------------------------------------------------------------------------

const listens = (port: number): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const server = net.createServer()
    server.once("error", () => resume(Effect.succeed(false)))
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resume(Effect.succeed(true))))
  })

/**
 * A port of 127.0.0.1 on which nobody listens.
 *
 * It lies below the range from which the system takes the local ports of outgoing connections. A port from that range
 * may be taken while its server is stopped, and worse: a client that keeps trying to connect to it can end up
 * connected to itself.
 */
export const freePort: Effect.Effect<number, ServerError> = Effect.gen(function*() {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 10_240 + Math.floor(Math.random() * 22_000)
    if (yield* listens(port)) {
      return port
    }
  }
  return yield* Effect.fail(new ServerError({ message: "No free port on 127.0.0.1 after 100 attempts" }))
})

// -----------------------------------------------------------------------------
// Processes
// -----------------------------------------------------------------------------

/** Runs a program to its end and returns what it printed. */
export const run = (command: string, args: ReadonlyArray<string>, options: {
  readonly identity?: Identity
  readonly cwd?: string
  readonly environment?: Readonly<Record<string, string>>
  /** In seconds; 60 when nothing is said. */
  readonly timeout?: number
} = {}): Effect.Effect<string, ServerError> => {
  const title = [path.basename(command), ...args].join(" ")
  return Effect.callback<string, ServerError>((resume) => {
    const child = spawnChild(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: options.cwd ?? "/",
      env: { ...process.env, LC_ALL: "C", ...options.environment },
      ...options.identity
    })
    let output = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text))
    child.once(
      "error",
      (cause) => resume(Effect.fail(new ServerError({ message: `Could not run ${title}: ${cause.message}`, cause })))
    )
    child.once("close", (code, killedBy) =>
      resume(
        code === 0
          ? Effect.succeed(output)
          : Effect.fail(new ServerError({ message: `${title} ended with ${killedBy ?? code}:\n${output.trim()}` }))
      ))
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  }).pipe(within(`${options.timeout ?? 60} seconds`, () => `${title} did not end in ${options.timeout ?? 60} s`))
}

/** Whether a process runs. */
export const isAlive = (pid: number): boolean => alive([pid]).length > 0

// The parent is stopped first: it can start no further child while we look for those that it has.
const stopFamily = (pid: number): ReadonlyArray<number> => {
  signal(pid, "SIGSTOP")
  const children = descendants(pid)
  for (const child of children) {
    signal(child, "SIGSTOP")
  }
  return [pid, ...children]
}

/** `SIGSTOP` to a process and everything that it started. */
export const pauseFamily = (pid: number): Effect.Effect<void> => Effect.sync(() => void stopFamily(pid))

/** `SIGCONT`: undoes `pauseFamily`. */
export const resumeFamily = (pid: number): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const member of [...descendants(pid), pid]) {
      signal(member, "SIGCONT")
    }
  })

/** `SIGKILL` to a process and everything that it started; returns when all of them are gone. */
export const killFamily = (pid: number): Effect.Effect<void, ServerError> =>
  Effect.suspend(() => {
    const members = stopFamily(pid)
    for (const member of members) {
      signal(member, "SIGKILL")
    }
    return Effect.repeat(Effect.sync(() => alive(members).length === 0), {
      until: (gone) => gone,
      schedule: Schedule.spaced("5 millis")
    })
  }).pipe(
    Effect.asVoid,
    within("10 seconds", () => `Process ${pid} and its children are still there 10 s after SIGKILL`)
  )

/** A running server process. */
export interface ServerProcess {
  readonly pid: number
  readonly isRunning: () => boolean
  /** Ends when the process has ended. */
  readonly exited: Effect.Effect<void>
  readonly signal: (name: NodeJS.Signals) => void
  /** `SIGKILL` to the process and everything that it started; returns when all of them are gone. */
  readonly kill: Effect.Effect<void, ServerError>
  /** `SIGSTOP` to the process and everything that it started. */
  readonly pause: Effect.Effect<void>
  /** `SIGCONT`: undoes `pause`. */
  readonly resume: Effect.Effect<void>
}

/** Starts a server whose output goes to a file. It dies with this process, whatever way this process ends. */
export const spawn = (command: string, args: ReadonlyArray<string>, options: {
  readonly identity: Identity
  readonly cwd: string
  readonly logFile: string
  /** How the reaper asks it to end at once. */
  readonly quit: NodeJS.Signals
}): Effect.Effect<ServerProcess, ServerError> =>
  Effect.callback<ChildProcess, ServerError>((resume) => {
    const log = fs.openSync(options.logFile, "a")
    const child = spawnChild(command, args, {
      detached: true,
      stdio: ["ignore", log, log],
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: "C" },
      ...options.identity
    })
    fs.closeSync(log)
    child.unref()
    child.once("spawn", () => {
      tellReaper({ watch: child.pid!, quit: options.quit })
      resume(Effect.succeed(child))
    })
    child.once("error", (cause) =>
      resume(Effect.fail(new ServerError({ message: `Could not start ${command}: ${cause.message}`, cause }))))
  }).pipe(Effect.map((child) => {
    const pid = child.pid!
    const ended = Deferred.makeUnsafe<void>()
    const onExit = () => {
      tellReaper({ forget: pid })
      Deferred.doneUnsafe(ended, Effect.void)
    }
    child.once("exit", onExit)
    if (child.exitCode !== null || child.signalCode !== null) {
      onExit()
    }
    // Who waits for its end wants to live until then, although a server by itself keeps nobody alive.
    let waiting = 0
    const exited = Effect.acquireUseRelease(
      Effect.sync(() => {
        if (waiting++ === 0) {
          child.ref()
        }
      }),
      () =>
        Deferred.await(ended),
      () =>
        Effect.sync(() => {
          if (--waiting === 0) child.unref()
        })
    )

    return {
      pid,
      isRunning: () => !Deferred.isDoneUnsafe(ended),
      exited,
      signal: (name) => signal(pid, name),
      kill: Effect.andThen(killFamily(pid), exited),
      pause: pauseFamily(pid),
      resume: resumeFamily(pid)
    }
  }))

/** Ends when `attempt` succeeds; fails when the server has ended, or `timeout` seconds have passed. */
export const awaitReady = <E>(process: ServerProcess, attempt: Effect.Effect<unknown, E>, options: {
  readonly name: string
  readonly logFile: string
  readonly timeout: number
}): Effect.Effect<void, ServerError> => {
  let last: unknown
  return attempt.pipe(
    Effect.tapError((error) =>
      Effect.sync(() => {
        last = error
      })
    ),
    Effect.retry(Schedule.spaced("20 millis")),
    Effect.raceFirst(Effect.andThen(
      process.exited,
      Effect.fail(new ServerError({ message: `${options.name} ended while it started` }))
    )),
    within(`${options.timeout} seconds`, () => `${options.name} is not ready after ${options.timeout} s: ${last}`),
    Effect.mapError((error) =>
      new ServerError({ message: `${(error as ServerError).message}\n${tailOf(options.logFile)}`, cause: last })
    ),
    Effect.asVoid,
    live
  )
}

/** The last lines of a log file. */
export const tailOf = (logFile: string, lines = 40): string =>
  fs.existsSync(logFile) ? fs.readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n") : ""
