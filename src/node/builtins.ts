/**
 * Modules of Node that few programs need. An `import` would load them at the start, which takes longer than the rest of
 * what a connection without TLS and without a password needs from Node.
 */

export const tls = (): typeof import("node:tls") => process.getBuiltinModule("node:tls")

export const crypto = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto")

export const fs = (): typeof import("node:fs") => process.getBuiltinModule("node:fs")
