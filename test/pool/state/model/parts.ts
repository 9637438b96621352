import type { Agenda } from "../../../../src/pool/state/Agenda.ts"
import type { Connections } from "../../../../src/pool/state/Connections.ts"
import type { Demand } from "../../../../src/pool/state/Demand.ts"
import type { Dispatcher } from "../../../../src/pool/state/Dispatcher.ts"
import type { LeakWatch } from "../../../../src/pool/state/LeakWatch.ts"
import type { Limiter } from "../../../../src/pool/state/Limiter.ts"
import type { Opening } from "../../../../src/pool/state/Opening.ts"
import type { PoolState } from "../../../../src/pool/state/PoolState.ts"
import type { ServerLimit } from "../../../../src/pool/state/ServerLimit.ts"
import type { Sharing } from "../../../../src/pool/state/Sharing.ts"
import type { WaitQueue } from "../../../../src/pool/state/WaitQueue.ts"

/** The parts of a state, which are private. */
export interface Parts {
  readonly agenda: Agenda<number>
  readonly connections: Connections<number>
  readonly demand: Demand<number>
  readonly dispatcher: Dispatcher<number>
  readonly leaks: LeakWatch<number>
  readonly limiter: Limiter | undefined
  readonly opening: Opening
  readonly queue: WaitQueue<number>
  readonly server: ServerLimit
  readonly sharing: Sharing<number>
}

export const partsOf = (state: PoolState<number>): Parts => state as unknown as Parts
