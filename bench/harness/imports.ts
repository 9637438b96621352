/** Loaded before a program: counts the modules that it loads and their size, and writes both to the standard error. */
import { registerHooks } from "node:module"

let count = 0
let bytes = 0

registerHooks({
  load: (url, context, next) => {
    const result = next(url, context)
    if (url.startsWith("file:")) {
      count++
      bytes += result.source === undefined || result.source === null ? 0 : Buffer.byteLength(result.source as string)
    }
    return result
  }
})

process.on("exit", () => {
  process.stderr.write(`${JSON.stringify({ count, bytes })}\n`)
})
