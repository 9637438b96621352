import { defineConfig } from "vitest/config"
import base from "../../vitest.config.ts"

// `npm run soak`: the ledger and the history for as long as `WATERTIGHT_SOAK_MINUTES` says, from a new seed each time.
export default defineConfig({
  ...base,
  test: { ...base.test, include: ["test/soak/**/*.soak.ts"], testTimeout: 24 * 3_600_000 }
})
