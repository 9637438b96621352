import type { Options } from "../../../../src/pool/state/StateOptions.ts"
import type { Seed } from "../../../support/seed.ts"

export const randomOptions = (seed: Seed): Options => {
  const max = seed.pick([1, 1, 2, 3, 4, 8])
  return {
    max,
    min: seed.chance(0.5) ? 0 : seed.int(0, max),
    maxConnecting: seed.int(1, 4),
    maxWaiting: seed.pick([Infinity, Infinity, Infinity, 0, 3]),
    acquireTimeout: seed.pick([Infinity, 30, 200, 1000]),
    idleTimeout: seed.pick([Infinity, 0, 40, 300]),
    lifetime: seed.pick([Infinity, 50, 400]),
    lifetimeJitter: seed.pick([0, 0.25, 1]),
    validateAfter: seed.pick([Infinity, 0, 5, 60]),
    keepAlive: seed.pick([Infinity, 20, 150]),
    backoffBase: seed.pick([0, 5, 25]),
    backoffCap: seed.pick([25, 100]),
    pipelineDepth: seed.pick([1, 2, 4, 64]),
    slowStatement: seed.pick([3, 10]),
    shareWait: seed.pick([0, 1, 5]),
    slowConnect: seed.pick([10, 50, Infinity]),
    controlTimeout: seed.pick([Infinity, 40, 200]),
    overloadRecovery: seed.pick([20, 100]),
    leakThreshold: seed.pick([Infinity, 30]),
    reclaimAfter: seed.pick([Infinity, Infinity, 60]),
    adaptive: seed.chance(0.3),
    scaling: seed.pick([
      undefined,
      { interval: 30, utilization: 0.75, wait: Infinity, window: 90 },
      { interval: 200, utilization: 0.5, wait: 20, window: 200 },
      { interval: 250, utilization: 0.75, wait: 1, window: 500 }
    ]),
    lanes: seed.pick([
      [],
      [],
      [{ guaranteed: 0.5, max: 1 }],
      [{ guaranteed: 0.25, max: 0.5 }, { guaranteed: 0, max: 0.25 }]
    ])
  }
}
