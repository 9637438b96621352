/** Several servers of MySQL or MariaDB as one. */
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type { Mariadb } from "watertight/mariadb"
import * as Failover from "../../cluster/failover.ts"
import type { FaultProxy } from "../../support/index.ts"
import type { Subject } from "../support.ts"

/** The URL of all nodes, through what clients come through. */
export const urlOfNodes = (
  { password, user }: { readonly password: string; readonly user: string },
  nodes: ReadonlyArray<{ readonly clients: FaultProxy.FaultProxy }>
): string => `mysql://${user}:${password}@${nodes.map(({ clients }) => `${clients.host}:${clients.port}`).join()}/test`

/** A layer for the ledger, whose callers wait for a new primary. */
export const layerOfNodes = (subject: Subject, url: string, pool: Mariadb.LayerOptions["pool"] = {}) =>
  Layer.provideMerge(
    subject.module.layer({
      url: Redacted.make(url),
      allowPublicKeyRetrieval: true,
      connectTimeout: "2 seconds",
      controlTimeout: "2 seconds",
      resolveTimeout: "1 minute",
      pool: { ...pool, acquireTimeout: Failover.acquireTimeout }
    }),
    Logger.layer([])
  )
