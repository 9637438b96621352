/** A real terminal, for programs that draw on one. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as Binaries from "./servers/binaries.ts"
import type { ServerError } from "./servers/ServerError.ts"

/** What tmux needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "tmux",
  programs: ["tmux"],
  folders: () => ["/usr/local/bin", "/opt/homebrew/bin"],
  debian: { name: "tmux", packages: ["tmux"], programs: ["usr/bin/tmux"] },
  install: "apt-get install tmux   or   brew install tmux"
}

/** A terminal in which a command runs. */
export interface Terminal {
  /** What it shows now, line by line, without the blanks at the ends. */
  readonly shown: Effect.Effect<string>
  /** Waits until it shows this. */
  readonly until: (text: string | RegExp) => Effect.Effect<string>
  /** Presses keys, by the names that tmux has for them. */
  readonly press: (...keys: ReadonlyArray<string>) => Effect.Effect<void>
  readonly resize: (columns: number, rows: number) => Effect.Effect<void>
}

/** Opens one, runs a command of the shell in it, and closes it with the scope. */
export const open = Effect.fnUntraced(function*(
  command: string,
  size: { readonly columns: number; readonly rows: number }
): Effect.fn.Return<Terminal, ServerError, Scope.Scope> {
  const program = yield* Binaries.locate(requirement)
  const name = `watertight-${randomBytes(4).toString("hex")}`
  // The program that is looked at may be a part of this process, which must not stand still.
  const tmux = (...args: ReadonlyArray<string>) =>
    Effect.callback<string>((resume) => {
      execFile(
        program,
        ["-L", name, "-f", "/dev/null", ...args],
        { env: { ...process.env, LC_ALL: "C.UTF-8" } },
        (error, stdout) => resume(error === null ? Effect.succeed(stdout) : Effect.die(error))
      )
    })
  yield* Effect.acquireRelease(
    // What is behind the command keeps the terminal open when it ends.
    tmux("new-session", "-d", "-x", `${size.columns}`, "-y", `${size.rows}`, `${command}; exec sleep 600`),
    () => tmux("kill-server")
  )
  const shown = Effect.map(tmux("capture-pane", "-p"), (text) => text.trimEnd())
  return {
    shown,
    until: (text) =>
      shown.pipe(
        Effect.repeat({ until: (shown) => typeof text === "string" ? shown.includes(text) : text.test(shown) }),
        Effect.timeout("120 seconds"),
        Effect.catchTag("TimeoutError", () =>
          Effect.flatMap(shown, (shown) => Effect.die(new Error(`never showed ${String(text)}:\n${shown}`))))
      ),
    press: (...keys) => Effect.asVoid(tmux("send-keys", ...keys)),
    resize: (columns, rows) => Effect.asVoid(tmux("resize-window", "-x", `${columns}`, "-y", `${rows}`))
  }
})
