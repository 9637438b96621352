/** `watertight new`: an empty migration with an id of now. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { Exit } from "./answer.ts"
import { conclude, directory, json } from "./flags.ts"
import { Usage } from "./problems.ts"

export const create = Command.make("new", {
  name: Argument.String("name").pipe(Argument.withDescription("What it does, in a few words")),
  directory,
  json,
  ts: Flag.Boolean("ts").pipe(Flag.withDescription("In TypeScript instead of SQL"), Flag.withDefault(false))
}, (flags) =>
  conclude(
    "new",
    flags.json,
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const name = flags.name.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "_").replace(/^_+|_+$/g, "")
      if (name === "") return yield* new Usage({ problem: "a name needs a letter" })
      const id = DateTime.formatIso(yield* DateTime.now).replace(/\D/g, "").slice(0, 14)
      const file = path.join(flags.directory, `${id}_${name}.${flags.ts ? "ts" : "sql"}`)
      yield* fs.makeDirectory(flags.directory, { recursive: true })
      yield* fs.writeFileString(file, flags.ts ? code : `-- ${flags.name.trim().replace(/\s+/g, " ")}\n\n`, {
        flag: "wx"
      })
      return { command: "new", exitCode: Exit.ok, data: { file, id: Number(id), name }, lines: [file] }
    })
  )).pipe(
    Command.withDescription("Make an empty migration with an id of now"),
    Command.withExamples([{
      command: "watertight new \"add accounts\"",
      description: "migrations/20261127091500_add_accounts.sql"
    }])
  )

const code = `import { Effect } from "effect"
import { SqlClient } from "effect/sql"

export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
})
`
