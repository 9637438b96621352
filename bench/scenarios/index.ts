/** The scenarios, in the order in which they run. */
export const names: ReadonlyArray<string> = [
  "point",
  "latency",
  "mixed",
  "scale",
  "transaction",
  "staircase",
  "replicas",
  "checkout",
  "fairness",
  "spike",
  "outage",
  "memory",
  "startup",
  "bulk"
]
