/** How connections are encrypted: what the options say, and the certificates, which are read for every connection. */
import * as Result from "effect/Result"
import * as Tls from "node:tls"
import { type Files, reading } from "../../node/certificates.ts"
import type { TlsOptions } from "../driver/Driver.ts"
import type { MysqlOptions, SslMode } from "./MysqlOptions.ts"

/** How connections are to be encrypted. */
export interface TlsPlan {
  /** Whether a server that does not offer TLS is refused. */
  readonly isRequired: boolean
  readonly verify: boolean
  readonly verifyName: boolean
  /**
   * The certificates as they are now, so that one that was renewed is used without a restart. As long as they have not
   * changed it is the same object, by which the drivers keep their TLS sessions.
   */
  readonly material: () => Result.Result<TlsOptions["material"], WrongTls>
}

/** What is wrong with an option of TLS. */
export interface WrongTls {
  readonly option: "ssl" | "sslmode" | "sslrootcert" | "sslcert" | "sslkey"
  readonly problem: string
}

const wrong = (option: WrongTls["option"], problem: string): Result.Result<never, WrongTls> =>
  Result.fail({ option, problem })

export const sslModes: ReadonlyArray<SslMode> = ["disable", "prefer", "require", "verify-ca", "verify-full"]

/** Plans TLS. `undefined` if there is to be none. Loads what there is, so that a wrong file is found at once. */
export const planTls = (
  ssl: MysqlOptions["ssl"],
  mode: SslMode,
  files: Files,
  isLocal: boolean
): Result.Result<TlsPlan | undefined, WrongTls> =>
  Result.gen(function*() {
    const given = typeof ssl === "object" ? ssl : undefined
    const isOff = ssl === undefined ? mode === "disable" : ssl === false
    const unused = (["sslrootcert", "sslcert", "sslkey"] as const).find((name) => files[name] !== undefined)
    if (isOff) {
      return unused === undefined
        ? undefined
        : yield* wrong(unused, "is of no use without TLS: add `sslmode: \"verify-full\"`")
    }
    if (ssl === undefined && mode === "prefer") {
      // A certificate that nothing is compared with would promise what does not hold.
      if (files.sslrootcert !== undefined) {
        return yield* wrong("sslrootcert", "is of no use with `sslmode: \"prefer\"`: say \"verify-full\"")
      }
      // Nothing can listen to what goes through a socket of the same machine.
      if (isLocal && unused === undefined) return undefined
    }
    const { rejectUnauthorized = true, ...fixed } = given ?? {}
    const material = materialOf(files, fixed)
    yield* material()
    const verify = ssl === undefined ? mode === "verify-ca" || mode === "verify-full" : rejectUnauthorized
    return {
      isRequired: ssl !== undefined || mode !== "prefer",
      verify,
      verifyName: ssl === undefined ? mode === "verify-full" && !isLocal : rejectUnauthorized && !isLocal,
      material
    }
  })

const materialOf = (files: Files, fixed: Tls.SecureContextOptions): TlsPlan["material"] => {
  const read = reading(files)
  let last: { readonly of: Tls.SecureContextOptions; readonly material: TlsOptions["material"] } | undefined
  return () =>
    Result.flatMap(read(), (found) => {
      if (last?.of !== found) last = { of: found, material: { ...found, ...fixed } }
      const { material } = last
      // What the program has given is looked at together with the files.
      return Object.keys(fixed).length === 0 ? Result.succeed(material) : Result.try({
        try: () => (Tls.createSecureContext(material), material),
        catch: (cause): WrongTls => ({
          option: "ssl",
          problem: `has something that TLS cannot use: ${cause instanceof Error ? cause.message : String(cause)}`
        })
      })
    })
}
