/**
 * Stops statements on the server: `KILL QUERY` over a connection of its own.
 *
 * A session's number means something on its own server only, and behind a load balancer or a name with several
 * addresses the next connection may end at another one. So the side connection goes to the very address of the
 * session, and asks the server who it is before it kills anything.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Socket } from "node:net"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import type { DriverConnection } from "./Driver.ts"

/** Where a session's socket ended. */
export type Address =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }

/** A session whose statement is to be stopped. */
export interface Target {
  readonly threadId: number
  readonly address: Address
  readonly server: { readonly identity: string }
}

/** A connection that is good for a few statements only. */
export interface SideConnection {
  readonly driver: DriverConnection
  readonly socket: Socket
}

/** The question of who the server is. */
export const identityOf = "CONCAT_WS('|', @@hostname, @@port, @@server_id, @@datadir)"

interface Request {
  readonly kills: "QUERY" | "CONNECTION"
  readonly target: Target
  readonly isNeeded: () => boolean
  readonly done: (sent: boolean) => void
}

/** How long an abandoned statement may still end by itself before the server is asked to stop it, in milliseconds. */
const grace = 10

export class Canceller {
  private readonly connect: (address: Address) => Effect.Effect<SideConnection, SqlError>
  private readonly limit: number
  /** Who waits, by address. One side connection for each address at a time. */
  private readonly queues = new Map<string, Array<Request>>()

  constructor(connect: (address: Address) => Effect.Effect<SideConnection, SqlError>, limit: number) {
    this.connect = connect
    this.limit = limit
  }

  /** Stops what runs on a session, if it still needs to be. Tells whether the server was asked to; calls back once. */
  kill(target: Target, isNeeded: () => boolean, done: (sent: boolean) => void): void {
    this.request({ kills: "QUERY", target, isNeeded, done })
  }

  /** Ends a session on the server whose connection has been given up: what it runs would run on. */
  end(target: Target): void {
    this.request({ kills: "CONNECTION", target, isNeeded: () => true, done: () => {} })
  }

  private request(request: Request): void {
    const { target } = request
    const key = JSON.stringify([target.address, target.server.identity])
    const queue = this.queues.get(key)
    if (queue !== undefined) {
      queue.push(request)
      return
    }
    this.queues.set(key, [request])
    afterAwake(grace, () => this.work(key))
  }

  /** Works off a queue over one connection. */
  private work(key: string): void {
    const queue = this.queues.get(key)!
    this.skip(queue)
    if (queue.length === 0) {
      this.queues.delete(key)
      return
    }
    const { target } = queue[0]!
    Effect.runCallback(this.connect(target.address), {
      onExit: (exit) => {
        if (exit._tag === "Failure") return this.giveUp(key)
        this.identify(key, exit.value, target.server.identity)
      }
    })
  }

  private identify(key: string, side: SideConnection, identity: string): void {
    this.ask(side, `SELECT ${identityOf}`, (rows) => {
      if (rows?.[0]?.[0] !== identity) {
        side.socket.destroy()
        return this.giveUp(key)
      }
      this.killNext(key, side)
    })
  }

  private killNext(key: string, side: SideConnection): void {
    const queue = this.queues.get(key)!
    this.skip(queue)
    const request = queue.shift()
    if (request === undefined) {
      this.queues.delete(key)
      side.driver.quit()
      side.socket.end()
      return
    }
    this.ask(side, `KILL ${request.kills} ${request.target.threadId}`, (rows) => {
      request.done(true)
      if (rows !== undefined) return this.killNext(key, side)
      side.socket.destroy()
      this.giveUp(key)
    })
  }

  /** Runs one statement within the limit. `undefined` is a failure. */
  private ask(side: SideConnection, sql: string, then: (rows: ReadonlyArray<any> | undefined) => void): void {
    let isDone = false
    const finish = (rows: ReadonlyArray<any> | undefined) => {
      if (isDone) return
      isDone = true
      stop()
      side.socket.off("close", onClose)
      then(rows)
    }
    const onClose = () => finish(undefined)
    const stop = afterAwake(this.limit, onClose)
    side.socket.once("close", onClose)
    side.driver.query(sql, {
      isWanted: true,
      onRows: finish,
      onOk: () => finish([]),
      onMany: () => finish([]),
      // A session that has ended is not there to be killed: that is what was wanted.
      onError: (error) => finish((error as { readonly errno?: unknown }).errno === 1094 ? [] : undefined)
    })
  }

  /** What has ended by itself needs no killing. */
  private skip(queue: Array<Request>): void {
    while (queue.length > 0 && !queue[0]!.isNeeded()) queue.shift()!.done(false)
  }

  private giveUp(key: string): void {
    const queue = this.queues.get(key)!
    this.queues.delete(key)
    for (const request of queue) request.done(false)
  }
}
