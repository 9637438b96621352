/**
 * How a password is proved: MD5, and SCRAM-SHA-256 (RFC 5802, RFC 7677) with and without channel binding. The parts of
 * `@effect/sql-pg` know no channel binding.
 */
import * as Result from "effect/Result"
import { crypto } from "../../node/builtins.ts"

export const plain = "SCRAM-SHA-256"
export const bound = "SCRAM-SHA-256-PLUS"

/** More would be an attempt to keep us busy. PostgreSQL's default is 4096. */
const maxIterations = 1_000_000

/** A proof of the server that was checked, or what was wrong with what it said. */
export type Answer = Result.Result<Uint8Array, string>

/** `"md5" + md5(md5(password + user) + salt)`. */
export const md5 = (user: string, password: string, salt: Uint8Array): string => {
  const inner = crypto().createHash("md5").update(password + user).digest("hex")
  return `md5${crypto().createHash("md5").update(inner).update(salt).digest("hex")}`
}

/**
 * The header of GS2: the connection is bound to this certificate (`Uint8Array`), or could have been if the server had
 * offered it (`"not offered"`), or not (`"none"`).
 */
export type Binding = Uint8Array | "not offered" | "none"

/** One exchange. The server is to be asked in the order of the methods, each once. */
export class Exchange {
  private readonly password: string
  private readonly header: string
  private readonly binding: Binding
  private readonly nonce = crypto().randomBytes(18).toString("base64")
  private serverSignature: Buffer | undefined
  isVerified = false

  constructor(password: string, binding: Binding) {
    this.password = password
    this.binding = binding
    this.header = binding === "none" ? "n,," : binding === "not offered" ? "y,," : "p=tls-server-end-point,,"
  }

  get mechanism(): string {
    return typeof this.binding === "string" ? plain : bound
  }

  /** The server knows the user from the start. */
  first(): Uint8Array {
    return Buffer.from(`${this.header}${this.bare}`)
  }

  /** Proves that we know the password. */
  proof(challenge: Uint8Array): Answer {
    if (this.serverSignature !== undefined) return Result.fail("a second challenge")
    const text = Buffer.from(challenge).toString()
    // No other attribute may come first: one that is mandatory and not known must be refused.
    const match = /^r=([^,]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9]\d{0,6})(?:,|$)/.exec(text)
    if (match === null) return Result.fail("a challenge that cannot be read")
    const [, nonce, salt, iterations] = match as unknown as [string, string, string, string]
    if (!nonce.startsWith(this.nonce) || nonce.length === this.nonce.length) {
      return Result.fail("a nonce that does not continue ours")
    }
    if (Number(iterations) > maxIterations) return Result.fail(`${iterations} iterations`)
    const salted = crypto().pbkdf2Sync(this.password, Buffer.from(salt, "base64"), Number(iterations), 32, "sha256")
    const clientKey = hmac(salted, "Client Key")
    const channel = Buffer.concat([
      Buffer.from(this.header),
      typeof this.binding === "string" ? Buffer.alloc(0) : this.binding
    ])
    const final = `c=${channel.toString("base64")},r=${nonce}`
    const message = `${this.bare},${text},${final}`
    this.serverSignature = hmac(hmac(salted, "Server Key"), message)
    const signature = hmac(crypto().createHash("sha256").update(clientKey).digest(), message)
    const proof = clientKey.map((byte, index) => byte ^ signature[index]!)
    return Result.succeed(Buffer.from(`${final},p=${Buffer.from(proof).toString("base64")}`))
  }

  /** Checks that the server knows it too. */
  verify(final: Uint8Array): Result.Result<void, string> {
    const text = Buffer.from(final).toString()
    const match = /^v=([A-Za-z0-9+/]+={0,2})(?:,|$)/.exec(text)
    const signature = match === null ? undefined : Buffer.from(match[1]!, "base64")
    if (
      this.isVerified || this.serverSignature === undefined || signature?.length !== this.serverSignature.length ||
      !crypto().timingSafeEqual(signature, this.serverSignature)
    ) return Result.fail("a wrong signature")
    this.isVerified = true
    return Result.void
  }

  private get bare(): string {
    return `n=,r=${this.nonce}`
  }
}

const hmac = (key: Uint8Array, data: string): Buffer => crypto().createHmac("sha256", key).update(data).digest()
