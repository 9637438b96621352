/** Servers that are what the test says, as one cluster, under a `TestClock`. */
import * as Effect from "effect/Effect"
import type { Connection } from "../../src/Adapter.ts"
import type { Candidates, ClusterAdapter, NodeOptions, ReplicaOptions } from "../../src/cluster/ClusterAdapter.ts"
import type { Role } from "../../src/cluster/state/Observation.ts"
import { unwrap } from "../../src/pool/LeasedConnection.ts"
import { FakeAdapter, refused } from "../support/fakeAdapter.ts"

export class FakeServer {
  readonly name: string
  readonly adapter = new FakeAdapter()
  role: Role
  generation = 1
  /** How far it is in the log that all share. */
  position = 0
  /** Whether it answers what it is asked, and lets anybody in. */
  isUp = true

  constructor(name: string, role: Role) {
    this.name = name
    this.role = role
    this.adapter.onConnect = () => Effect.suspend(() => this.isUp ? Effect.void : Effect.fail(refused))
  }
}

export class FakeCluster {
  readonly servers: ReadonlyMap<string, FakeServer>

  /** The first one is the primary. */
  constructor(...names: ReadonlyArray<string>) {
    this.servers = new Map(
      names.map((name, index) => [name, new FakeServer(name, index === 0 ? "primary" : "replica")])
    )
  }

  at(name: string): FakeServer {
    return this.servers.get(name)!
  }

  /** The server that a connection leads to. */
  of(connection: Connection): FakeServer {
    const inner = unwrap(connection)
    return [...this.servers.values()].find(({ adapter }) => adapter.connections.includes(inner as never))!
  }

  /** The old primary is gone, and another server has taken its place. */
  promote(name: string): void {
    const generation = 1 + Math.max(...[...this.servers.values()].map(({ generation }) => generation))
    for (const server of this.servers.values()) {
      server.generation = generation
      if (server.role === "primary") server.isUp = false
      if (server.name === name) server.role = "primary"
    }
  }

  adapter(
    options: {
      readonly candidates?: Candidates | undefined
      readonly zone?: string | undefined
      readonly replicas?: ReplicaOptions | undefined
      readonly target?: ClusterAdapter["target"] | undefined
    } = {}
  ): ClusterAdapter {
    return {
      name: "fake://cluster",
      candidates: options.candidates ?? [...this.servers.keys()].map((host): NodeOptions => ({ host })),
      target: options.target ?? "primary",
      zone: options.zone,
      replicas: options.replicas,
      adapterOf: ({ host }) =>
        Effect.succeed(Object.assign(this.at(host).adapter, {
          name: `fake://${host}`,
          spanAttributes: [["db.system.name", "fake"], ["server.address", host]]
        })),
      isPrimary: (connection) => this.of(connection).role === "primary",
      observe: (connection, positions) =>
        Effect.suspend(() => {
          const server = this.of(connection)
          if (!server.isUp) return Effect.fail(refused)
          const has = positions.findIndex((position) => server.position >= Number(position))
          return Effect.succeed({
            role: server.role,
            server: server.name,
            lineage: "fake",
            generation: server.generation,
            position: String(server.position),
            has: has < 0 ? undefined : has
          })
        })
    }
  }
}
