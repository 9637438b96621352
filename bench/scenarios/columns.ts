/** Columns that many tables share. */
import type { Column } from "../harness/model.ts"

export const rate: Column = { key: "rate", label: "per second", format: "rate", better: "higher" }
export const p50: Column = { key: "p50", label: "p50", format: "ms", better: "lower" }
export const p95: Column = { key: "p95", label: "p95", format: "ms", better: "lower" }
export const p99: Column = { key: "p99", label: "p99", format: "ms", better: "lower" }
export const client: Column = { key: "client", label: "client CPU", format: "us", better: "lower" }
export const server: Column = { key: "server", label: "server CPU", format: "us", better: "lower" }
export const max: Column = { key: "max", label: "max", format: "ms", better: "lower" }
export const errors: Column = { key: "errors", label: "errors", format: "count", better: "lower" }
