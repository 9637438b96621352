/** The part of a start in which we prove who asks, and the server that it knows us. */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Result from "effect/Result"
import { endPointOf } from "./endPoint.ts"
import { bound, Exchange, md5, plain } from "./scram.ts"
import type { Transport } from "./Socket.ts"

/** What a server may ask for, by the names of `require_auth` of `libpq`. */
export type Method = "none" | "password" | "md5" | "scram-sha-256"

/** What a server has to ask for. */
export interface Demands {
  readonly methods: ReadonlySet<Method>
  readonly channelBinding: "disable" | "prefer" | "require"
}

/** What a password is proved with. */
export interface Credentials {
  readonly password: string
  /** As SCRAM takes it. */
  readonly prepared: string
}

type Challenge = Extract<PgProtocol.BackendMessage<unknown>, { readonly _tag: `Authentication${string}` }>

const names: Record<Method, string> = {
  none: "no authentication",
  password: "the password in clear text",
  md5: "an MD5 hash of the password",
  "scram-sha-256": "SCRAM-SHA-256"
}

/** Says what is wrong with a challenge, or nothing if it was answered. */
type Said = string | undefined

export class Authentication {
  isDone = false
  /** What the server has asked for. Once it has, it may ask for nothing else. */
  private method: Method | undefined
  private exchange: Exchange | undefined
  private readonly transport: Transport
  private readonly user: string
  private readonly demands: Demands
  private readonly credentials: Credentials | undefined

  constructor(transport: Transport, user: string, demands: Demands, credentials: Credentials | undefined) {
    this.transport = transport
    this.user = user
    this.demands = demands
    this.credentials = credentials
  }

  onChallenge(message: Challenge): Said {
    switch (message._tag) {
      case "AuthenticationOk":
        return this.finish()
      case "AuthenticationCleartextPassword":
        return this.begin("password") ?? this.prove(({ password }) => PgProtocol.encodePasswordMessage({ password }))
      case "AuthenticationMD5Password":
        return this.begin("md5") ??
          this.prove(({ password }) =>
            PgProtocol.encodePasswordMessage({ password: md5(this.user, password, message.salt) })
          )
      case "AuthenticationSASL":
        return this.begin("scram-sha-256") ?? this.beginScram(message.mechanisms)
      case "AuthenticationSASLContinue": {
        const proof = this.exchange?.proof(message.data) ?? Result.fail("a challenge that nobody asked for")
        if (Result.isFailure(proof)) return `the server answered SCRAM with ${proof.failure}`
        this.transport.socket.write(PgProtocol.encodeSASLResponse({ data: proof.success }))
        return undefined
      }
      case "AuthenticationSASLFinal": {
        const verified = this.exchange?.verify(message.data) ?? Result.fail("a proof that nobody asked for")
        return Result.isFailure(verified)
          ? `the server could not prove that it knows the password: it answered with ${verified.failure}`
          : undefined
      }
      case "AuthenticationUnsupported":
        return `the server asks for authentication method ${message.method}, which is not supported: let pg_hba.conf ` +
          "ask for scram-sha-256"
    }
  }

  private finish(): Said {
    if (this.exchange !== undefined && !this.exchange.isVerified) {
      return "the server skipped the proof that it knows the password"
    }
    const refused = this.method === undefined ? this.begin("none") : undefined
    if (refused !== undefined) return refused
    this.isDone = true
    return undefined
  }

  /** Takes note of what the server asks for, and says if that is not enough. */
  private begin(method: Method): Said {
    if (this.method !== undefined) {
      return `the server asks for ${names[method]} once it has asked for ${names[this.method]}`
    }
    this.method = method
    const { channelBinding, methods } = this.demands
    if (!methods.has(method)) {
      return `the server asks for ${names[method]}, and \`requireAuth\` allows ${
        Array.from(methods).join(", ")
      } only: ` +
        `have the server ask for that, or add "${method}"`
    }
    if (channelBinding === "require" && method !== "scram-sha-256") {
      return `the server asks for ${
        names[method]
      }, and \`channelBinding\` requires ${bound}: have the server ask for ` +
        "scram-sha-256 over TLS, or set `channelBinding` to \"prefer\""
    }
    return undefined
  }

  private beginScram(mechanisms: ReadonlyArray<string>): Said {
    const { encrypted, socket } = this.transport
    const { channelBinding } = this.demands
    const endPoint = encrypted && channelBinding !== "disable" ? endPointOf(socket) : undefined
    const isOffered = mechanisms.includes(bound)
    if (channelBinding === "require" && (endPoint === undefined || !isOffered)) {
      return `\`channelBinding\` is "require", and ${
        !encrypted
          ? "the connection is not encrypted: set `sslmode` to \"require\" or more, best to \"verify-full\""
          : isOffered
          ? "the server's certificate is signed in a way that has no hash to bind to: give it one with RSA or ECDSA"
          : `the server offers ${mechanisms.join(", ")} only: set it to "prefer" if that is known`
      }`
    }
    if (endPoint === undefined || !isOffered) {
      if (!mechanisms.includes(plain)) {
        return `the server offers ${mechanisms.join(", ")}, and ${plain} is what is spoken here`
      }
    }
    return this.prove(({ prepared }) => {
      this.exchange = new Exchange(
        prepared,
        endPoint === undefined ? "none" : isOffered ? endPoint : "not offered"
      )
      return PgProtocol.encodeSASLInitialResponse({
        mechanism: this.exchange.mechanism,
        initialResponse: this.exchange.first()
      })
    })
  }

  /** Answers a challenge with what `encode` makes of the password. */
  private prove(encode: (credentials: Credentials) => Uint8Array): Said {
    const { credentials } = this
    if (credentials === undefined) return "the server asks for a password and none is configured"
    // A Node that follows FIPS has no MD5, and throws.
    const answer = Result.try({ try: () => encode(credentials), catch: String })
    if (Result.isFailure(answer)) return `the server's challenge cannot be answered: ${answer.failure}`
    this.transport.socket.write(answer.success)
    return undefined
  }
}
