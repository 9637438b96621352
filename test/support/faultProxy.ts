/** The proxy that users get too, at the place where the servers look for it. */
export * from "../../src/testing/FaultProxy.ts"
