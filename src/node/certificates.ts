/**
 * Certificates and keys that are in files. They are read for every connection, so that one that was renewed is used
 * without a restart.
 */
import * as Result from "effect/Result"
import type * as Tls from "node:tls"
import { crypto, fs, tls } from "./builtins.ts"

/** The files, by the names of the options. */
export interface Files {
  readonly sslrootcert: string | undefined
  readonly sslcert: string | undefined
  readonly sslkey: string | undefined
}

/** What is wrong with an option. */
export interface WrongFile {
  readonly option: keyof Files
  readonly problem: string
}

const wrong = (option: keyof Files, problem: string): Result.Result<never, WrongFile> =>
  Result.fail({ option, problem })

/** Reads the files and lets TLS have a look at them, so that a bad one is found before anybody connects. */
export type Read = () => Result.Result<Tls.SecureContextOptions, WrongFile>

/**
 * Makes what reads the files. As long as they have not changed it returns the same object, and as long as they do not fit
 * together, because one of them is being renewed, the last that did.
 */
export const reading = (files: Files): Read => {
  let last: Tls.SecureContextOptions | undefined
  return () =>
    Result.gen(function*() {
      if (files.sslcert !== undefined && files.sslkey === undefined) {
        return yield* wrong("sslkey", "is missing: `sslcert` needs it")
      }
      if (files.sslkey !== undefined && files.sslcert === undefined) {
        return yield* wrong("sslcert", "is missing: `sslkey` needs it")
      }
      const read: Tls.SecureContextOptions = {
        ca: yield* readFile("sslrootcert", files),
        cert: yield* readFile("sslcert", files),
        key: yield* readFile("sslkey", files)
      }
      if (last !== undefined && isSame(last, read)) return last
      const checked = check(read)
      // One file of a pair may be renewed before the other.
      if (Result.isFailure(checked) && last !== undefined) return last
      yield* checked
      // TLS does not take what is undefined for what is left out.
      return last = Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined))
    })
}

const isSame = (last: Tls.SecureContextOptions, read: Tls.SecureContextOptions): boolean =>
  (["ca", "cert", "key"] as const).every((name) => String(read[name]) === String(last[name]))

const readFile = (option: keyof Files, files: Files): Result.Result<Buffer | undefined, WrongFile> => {
  const path = files[option]
  return path === undefined ? Result.succeed(undefined) : Result.try({
    try: () => fs().readFileSync(path),
    catch: (cause) => ({ option, problem: `names a file that cannot be read: ${describeError(cause)}` })
  })
}

const check = ({ ca, cert, key }: Tls.SecureContextOptions): Result.Result<void, WrongFile> =>
  Result.gen(function*() {
    // Of an authority's file that is none, TLS itself would not say a word.
    if (ca !== undefined) yield* usable("sslrootcert", () => new (crypto().X509Certificate)(ca as Buffer))
    if (cert === undefined) return
    yield* usable("sslcert", () => new (crypto().X509Certificate)(cert as Buffer))
    yield* usable("sslkey", () => tls().createSecureContext({ cert, key }))
  })

const usable = (option: keyof Files, evaluate: () => unknown): Result.Result<unknown, WrongFile> =>
  Result.try({
    try: evaluate,
    catch: (cause) => ({ option, problem: `names a file that TLS cannot use: ${describeError(cause)}` })
  })

const describeError = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
