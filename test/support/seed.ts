/** Randomness that can be repeated. */
import { exactSeed, type Seed } from "../../src/testing/seed.ts"

export { exactSeed, type Seed } from "../../src/testing/seed.ts"

/**
 * The generator of a test. `WATERTIGHT_TEST_SEED` replaces the seed, to look for failures elsewhere than the fixed seed
 * does; name `value` in the message of a failing assertion.
 */
export const seed = (value: number): Seed => exactSeed(Number(process.env["WATERTIGHT_TEST_SEED"] ?? value))
