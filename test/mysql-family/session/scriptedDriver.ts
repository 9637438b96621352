/** A driver that is answered by hand, step by step, and a session on it. */
import * as Effect from "effect/Effect"
import { Socket } from "node:net"
import type { Canceller } from "../../../src/mysql-family/driver/Canceller.ts"
import type { DriverConnection, Receiver } from "../../../src/mysql-family/driver/Driver.ts"
import { Status } from "../../../src/mysql-family/driver/Driver.ts"
import { Session } from "../../../src/mysql-family/session/Session.ts"
import type { ServerInfo, SessionContext } from "../../../src/mysql-family/session/SessionContext.ts"
import { Profiles } from "../../../src/mysql-family/statement/statements.ts"
import { Writes } from "../../../src/node/Writes.ts"

export const outside = Status.Autocommit
export const inside = Status.Autocommit | Status.InTransaction

/** What the session has sent, and waits for the answer of. */
export interface Sent {
  readonly sql: string
  readonly ok: (flags?: number) => void
  readonly fail: (errno: number, message?: string) => void
}

/** A kill that the session has asked for. */
export interface Kill {
  readonly isNeeded: () => boolean
  /** Tells whether the server was asked to. */
  readonly done: (sent: boolean) => void
}

export interface Scripted {
  readonly session: Session
  readonly sent: Array<Sent>
  /** Everything that was ever sent. */
  readonly log: Array<string>
  readonly kills: Array<Kill>
  readonly ended: { count: number }
}

const ok = { affectedRows: 0, changedRows: undefined, insertId: 0, warningStatus: 0, info: "" }

export const make = (options: {
  readonly isMariadb?: boolean
  readonly statementLimit?: number
  readonly controlLimit?: number
  readonly canPipeline?: boolean
} = {}): Scripted => {
  const sent: Array<Sent> = []
  const log: Array<string> = []
  const kills: Array<Kill> = []
  const ended = { count: 0 }
  const send = (sql: string, receiver: Pick<Receiver, "onOk" | "onError">) => {
    log.push(sql)
    const entry: Sent = {
      sql,
      ok: (flags = outside) => {
        sent.splice(sent.indexOf(entry), 1)
        receiver.onOk(ok, flags)
      },
      fail: (errno, message = "failed") => {
        sent.splice(sent.indexOf(entry), 1)
        receiver.onError({ errno, sqlState: "HY000", sqlMessage: message }, true)
      }
    }
    sent.push(entry)
  }
  const call = (sql: string) => (done: (error: unknown) => void) =>
    send(sql, { onOk: () => done(undefined), onError: done })
  const driver: DriverConnection = {
    writes: new Writes(new Socket(), false),
    threadId: 1,
    serverVersion: "scripted",
    written: undefined,
    query: (sql, receiver) => send(sql, receiver),
    accepts: () => true,
    execute: (sql, _params, receiver) => send(sql, receiver),
    stream: () => ({ pause: () => {}, resume: () => {} }),
    batch: undefined,
    together: options.canPipeline === true ? (write) => write() : undefined,
    load: undefined,
    forget: () => {},
    ping: call("PING"),
    resetSession: call("RESET"),
    quit: () => {},
    onTrouble: () => {}
  }
  const canceller = {
    kill: (_target: unknown, isNeeded: () => boolean, done: (sent: boolean) => void) => kills.push({ isNeeded, done }),
    end: () => ended.count++
  } as unknown as Canceller
  const context: SessionContext = {
    database: "scripted",
    canPipeline: options.canPipeline === true,
    profiles: new Profiles(100),
    prepares: true,
    controlLimit: options.controlLimit ?? 5_000,
    statementLimit: options.statementLimit ?? Infinity,
    dateStrings: false,
    undefinedIsNull: false,
    renameKeys: undefined,
    canceller
  }
  const server: ServerInfo = {
    version: "scripted",
    isMariadb: options.isMariadb === true,
    rollbackOnTimeout: false,
    maxAllowedPacket: 1_000_000,
    readerLimit: 600_000,
    identity: "scripted",
    inCluster: false,
    readOnly: undefined,
    setup: ["SET NAMES utf8mb4"],
    home: "USE `test`"
  }
  return { session: new Session(context, server, driver, new Socket(), { path: "" }), sent, log, kills, ended }
}

/** Starts an effect, and answers how it ends. */
export const start = <A, E>(effect: Effect.Effect<A, E>) => {
  const run = { exit: undefined as unknown, interrupt: () => {} }
  run.interrupt = Effect.runCallback(effect, { onExit: (exit) => (run.exit = exit) })
  return run
}
