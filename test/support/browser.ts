/** A real browser without a window, for the pages that people look at. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Page } from "playwright-core"
import * as Binaries from "./servers/binaries.ts"
import type { ServerError } from "./servers/ServerError.ts"

/** What Chromium needs from this machine. It looks for its files beside its program, so it cannot be unpacked. */
export const requirement: Binaries.Requirement = {
  name: "Chromium",
  programs: ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"],
  byName: true,
  folders: () => ["/opt/google/chrome", "/Applications/Google Chrome.app/Contents/MacOS"],
  install: "apt-get install chromium-headless-shell   or   brew install chromium"
}

/** A page, and what went wrong on it. */
export interface Opened {
  readonly page: Page
  /** Errors of scripts, what the policy refused, and files that were not found. */
  readonly problems: ReadonlyArray<string>
}

/** Opens a page, and closes it with the scope. */
export const open = (url: string): Effect.Effect<Opened, ServerError, Scope.Scope> =>
  Effect.gen(function*() {
    const executablePath = yield* Binaries.locate(requirement)
    const { chromium } = yield* Effect.promise(() => import("playwright-core"))
    const browser = yield* Effect.acquireRelease(
      // Its sandbox needs rights that containers do not give; only pages of our own are opened.
      Effect.promise(() => chromium.launch({ executablePath, args: ["--no-sandbox"] })),
      (browser) => Effect.promise(() => browser.close())
    )
    const page = yield* Effect.promise(() => browser.newPage())
    const problems: Array<string> = []
    page.on("pageerror", (error) => problems.push(String(error)))
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") problems.push(message.text())
    })
    page.on("requestfailed", (request) => problems.push(`${request.url()}: ${request.failure()?.errorText}`))
    yield* Effect.promise(() => page.goto(url))
    return { page, problems }
  })
