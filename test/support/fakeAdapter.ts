/** The adapter that users get too. */
export * from "../../src/testing/FakeAdapter.ts"
