/** The limit for pools: an array of what is free and a queue of those that wait. No deadlines, no health, no interruption. */
import type { Hold, Subject, Target } from "../harness/model.ts"
import { type Callback, callbacks } from "../harness/styles.ts"

const hold = (how: Hold, then: () => void): void => {
  if (how === "none") then()
  else if (how === "turn") setImmediate(then)
  else setTimeout(then, 1)
}

export const open = async ({ connections }: Target): Promise<Subject<Callback>> => {
  const free = Array.from({ length: connections }, () => ({}))
  let queue: Array<(resource: object) => void> = []
  let next = 0

  const acquire = (use: (resource: object) => void): void => {
    const resource = free.pop()
    if (resource === undefined) queue.push(use)
    else use(resource)
  }
  const release = (resource: object): void => {
    if (next === queue.length) {
      free.push(resource)
      return
    }
    const use = queue[next++]!
    if (next === 1000) {
      queue = queue.slice(next)
      next = 0
    }
    use(resource)
  }

  return {
    style: callbacks,
    close: async () => {},
    checkout: (how) => (done) =>
      acquire((resource) => {
        const at = performance.now()
        hold(how, () => {
          release(resource)
          done(at)
        })
      })
  }
}
