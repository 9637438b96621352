/** Loaded before a program: writes how many modules it loads, and their bytes, by the package that they are from. */
import { registerHooks } from "node:module"

const loaded: Record<string, { modules: number; bytes: number }> = {}

registerHooks({
  load: (url, context, next) => {
    const result = next(url, context)
    if (url.startsWith("file:")) {
      const [, name = "watertight"] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/.exec(url) ?? []
      const entry = (loaded[name] ??= { modules: 0, bytes: 0 })
      entry.modules++
      entry.bytes += Buffer.byteLength((result.source ?? "") as string)
    }
    return result
  }
})

process.on("exit", () => {
  process.stdout.write(JSON.stringify(loaded))
})
