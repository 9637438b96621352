/** What the table of servers says that a server lacks, it lacks, and the others have it. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Feature } from "./servers.ts"
import { connect, describeEach, subjects } from "./support.ts"

/** What only a server with the feature takes. */
const probes: Readonly<Record<Feature, string>> = {
  sequences: "create temporary sequence no_such_sequence",
  "snapshot isolation": "select @@innodb_snapshot_isolation",
  "uuid and inet6": "select cast(null as uuid), cast(null as inet6)",
  unix_socket: "create user if not exists probe_socket identified via unix_socket",
  "SET STATEMENT": "set statement max_statement_time = 1 for select 1",
  ed25519: "show plugins soname 'auth_ed25519.so'",
  "functional indexes": "create temporary table probe_index (a int, key ((a + 1)))",
  "constraints that are not enforced": "create temporary table probe_check (a int, check (a > 0) not enforced)",
  string_to_vector: "select string_to_vector('[1]')",
  "LOAD DATA by default": "select if(@@local_infile, 1, (select 1 union all select 2))",
  "tables that must have a key": "set session sql_require_primary_key = 0",
  RETURNING: "delete from mysql.user where user = 'nobody of this name' returning 1"
}

describeEach(
  "the table of servers over $name",
  (subject) => {
    for (const [feature, probe] of Object.entries(probes)) {
      const lacks = subject.server.lacks[feature as Feature] !== undefined
      it.live(`${feature}: ${lacks ? "refused" : "there"}`, () =>
        Effect.gen(function*() {
          const session = yield* connect(subject)
          const exit = yield* Effect.exit(session.executeUnprepared(probe, [], undefined))
          assert.strictEqual(Exit.isFailure(exit), lacks, JSON.stringify(exit))
        }))
    }
  },
  subjects.filter(({ pipelines }) => pipelines)
)
