/** A fault that waits for its exchange. */
import * as Effect from "effect/Effect"
import type { Fault, FaultProxyError, Rule } from "./model.ts"
import type { Pattern, Pipe } from "./pipe.ts"

/** What a rule asks its proxy. */
export interface RuleHost {
  readonly until: (condition: () => boolean) => Effect.Effect<void, FaultProxyError>
  readonly removed: (rule: ProxyRule) => void
}

export class ProxyRule implements Rule {
  readonly pattern: Pattern
  readonly fault: Fault
  readonly reply: string | Uint8Array | undefined
  private remaining: number
  private struck = 0
  /** How many exchanges it had been waiting for when it was released last: their replies may come later. */
  released = 0
  private readonly proxy: RuleHost
  readonly held = new Set<Pipe>()

  constructor(proxy: RuleHost, pattern: Pattern, fault: Fault, times: number, reply: string | Uint8Array | undefined) {
    this.proxy = proxy
    this.pattern = pattern
    this.fault = fault
    this.remaining = times
    this.reply = reply
  }

  get exhausted(): boolean {
    return this.remaining === 0
  }

  strike(): void {
    this.remaining--
    this.struck++
  }

  releaseUnsafe(): void {
    this.released = this.struck
    for (const pipe of this.held) {
      pipe.release()
    }
    this.held.clear()
  }

  readonly count = () => this.struck
  readonly fired: Effect.Effect<void, FaultProxyError> = Effect.suspend(() => this.proxy.until(() => this.struck > 0))
  readonly release = Effect.sync(() => this.releaseUnsafe())
  readonly remove = Effect.sync(() => {
    this.remaining = 0
    this.releaseUnsafe()
    this.proxy.removed(this)
  })
}
