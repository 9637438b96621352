import { defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"
import { isWhole, long } from "./test/support/long.ts"

// Tests import `watertight` and `watertight/postgres` by name and get the sources.
const conditions = ["watertight-source", ...defaultServerConditions]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: isWhole(process.argv) ? [...long] : [],
    globalSetup: "test/support/globalSetup.ts",
    // A process per file: what one test does to its process, no other test sees.
    pool: "forks",
    // The servers want a share of the machine too.
    maxWorkers: 2,
    testTimeout: 20_000,
    // What is left out is printed at the end.
    reporters: ["default", "./test/support/reporter.ts"],
    hookTimeout: 60_000,
    teardownTimeout: 20_000
  }
})
