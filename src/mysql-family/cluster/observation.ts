/** What a server of MySQL or MariaDB is to its cluster, made of what it answers. Pure. */
import type { Observation } from "../../cluster/state/Observation.ts"
import { isWritable } from "../adapter/serverRole.ts"
import * as MariadbPosition from "./mariadbPosition.ts"
import * as Place from "./position.ts"

/** What a server of MySQL answers. */
export interface MysqlAnswer {
  readonly readOnly: string
  readonly position: string
  /** Which of the positions that it was asked about it has; `null` for none. */
  readonly has: number | null
  /** The group that it is made for, or `null`. */
  readonly group: string | null
  /** What it knows of its group; `undefined` where this role must not see it. */
  readonly members: Members | undefined
}

/** The members of a group as one of them sees them. */
export interface Members {
  readonly all: number
  readonly online: number
  /** The state of the one that answers; `null` if it is none of them. */
  readonly state: string | null
}

export const ofMysql = (server: string, answer: MysqlAnswer): Observation => {
  const { group, has, members, position, readOnly } = answer
  const own = {
    server,
    lineage: group === null || group === "" ? undefined : group,
    generation: undefined,
    position: position === "" ? undefined : position,
    has: has ?? undefined
  }
  const why = own.lineage === undefined || members === undefined ? undefined : misfit(members)
  if (why !== undefined) return { ...own, role: "unfit", why }
  return { ...own, role: isWritable(readOnly) ? "primary" : "replica" }
}

/** Why a member of a group must not be used. What it says of itself counts only with a majority behind it. */
const misfit = ({ all, online, state }: Members): string | undefined => {
  if (state === null) return "it is no member of its group"
  if (state !== "ONLINE") return `it is ${state} in its group`
  return 2 * online > all ? undefined : `it sees ${online} of ${all} members of its group`
}

/** What a server of MariaDB answers. */
export interface MariadbAnswer {
  readonly readOnly: string
  /** What it has written and replayed. */
  readonly position: string
}

export const ofMariadb = (
  server: string,
  { position, readOnly }: MariadbAnswer,
  positions: ReadonlyArray<string>
): Observation => {
  const own = MariadbPosition.parse(position)
  const has = own === undefined
    ? -1
    : positions.findIndex((each) => {
      const wanted = MariadbPosition.parse(each)
      return wanted !== undefined && MariadbPosition.includes(own, wanted)
    })
  return {
    role: isWritable(readOnly) ? "primary" : "replica",
    server,
    lineage: undefined,
    generation: undefined,
    position: position === "" ? undefined : position,
    has: has === -1 ? undefined : has
  }
}

/** What a node of a Galera cluster answers. */
export interface GaleraAnswer {
  readonly readOnly: string
  /** `wsrep_ready` and the like, by their names in small letters. */
  readonly status: Readonly<Record<string, string>>
}

export const ofGalera = (
  server: string,
  { readOnly, status }: GaleraAnswer,
  positions: ReadonlyArray<string>
): Observation => {
  const lineage = status["wsrep_cluster_state_uuid"]
  const committed = Number(status["wsrep_last_committed"])
  const position = lineage === undefined || !(committed >= 0) ? undefined : Place.ofGalera(lineage, committed)
  const has = position === undefined ? -1 : positions.findIndex((wanted) => Place.includes(position, wanted))
  const own = {
    server,
    lineage,
    generation: undefined,
    position,
    has: has === -1 ? undefined : has
  }
  const why = refusal(status)
  if (why !== undefined) return { ...own, role: "unfit", why }
  return { ...own, role: isWritable(readOnly) ? "peer" : "replica", rank: Number(status["wsrep_local_index"] ?? 0) }
}

/** Why a node of a Galera cluster must not be used: it has no majority, or is busy with the data of another one. */
const refusal = (status: GaleraAnswer["status"]): string | undefined =>
  status["wsrep_cluster_status"] !== "Primary"
    ? `its part of the cluster is ${status["wsrep_cluster_status"] ?? "unknown"}`
    : status["wsrep_local_state"] !== "4"
    ? `it is ${status["wsrep_local_state_comment"] ?? "not synced"}`
    : status["wsrep_ready"] !== "ON"
    ? "it is not ready"
    : undefined
