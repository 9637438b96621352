/**
 * How a call is run on a node: with what is done around it, so that nothing is written, or that it is noted where it was.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection, Position } from "../../Adapter.ts"
import { WaitedSince } from "../../pool/Lending.ts"
import type { StatementProfile } from "../../pool/state/StatementProfile.ts"
import type { Member } from "../Member.ts"
import { behind, guarded, type Noted, noted } from "./following.ts"
import { readOnly } from "./readOnly.ts"

/** How a call is run on a node, whether somebody else sees to it that nothing is written, and what is done around it. */
export type Run = (member: Member, isGuarded: boolean, around: Around) => Effect.Effect<any, any, any>

type Body = (connection: Connection) => Effect.Effect<any, any, any>
export type Around = (f: Body) => Body

export const nothing: Around = (f) => f

/** What a read of a region has to see, and what is noted of it. */
export interface Following extends Noted {
  /** What its server must have; `undefined` if that is known. */
  readonly floor: Position | undefined
  /** Since when the read waits for a server that has it. */
  readonly since: number
}

/** How a call on the primary is run. */
export type Call = (member: Member, around: Around) => Effect.Effect<any, any, any>

/** The time that a caller has waited for the primary counts in the queue of its pool, and for nothing that it does there. */
export const waitedSince = (askedAt: number, member: Member, run: Call): Effect.Effect<any, any, any> => {
  const since: { at: number | undefined } = { at: askedAt }
  const begun: Around = (f) => (connection) => {
    since.at = undefined
    return f(connection)
  }
  return Effect.provideService(run(member, begun), WaitedSince, since)
}

export const aroundOf = (following: Following | undefined): Around => {
  if (following === undefined) return nothing
  const { causality, floor } = following
  return (f) => {
    const read = noted(following, f)
    return floor === undefined ? read : guarded(causality, floor, read)
  }
}

export const shared = (profile: StatementProfile | undefined, f: Body): Run => (member, isGuarded, around) =>
  isGuarded ? member.pool.share(profile, around(f)) : member.pool.use(readOnly(around(f)))

/** A whole connection: what is done around a statement is done before it is lent, and its user notes where it was. */
export const reserved: Run = (member, isGuarded, around) => {
  const lent = around === nothing ?
    member.pool.reserve :
    Effect.flatMap(Effect.scope, (scope) =>
      Effect.flatMap(Scope.fork(scope), (own) =>
        // A connection that is of no use is given back at once.
        Effect.tap(
          Scope.provide(Effect.flatMap(member.pool.reserve, around(Effect.succeed)), own),
          (connection) => connection === behind ? Scope.close(own, Exit.void) : Effect.void
        )))
  return isGuarded
    ? lent
    // What is lent is in a transaction that may not write. The pool ends it when the connection comes back.
    : Effect.tap(lent, (connection) => connection === behind ? Effect.void : beginReading(connection))
}

const beginReading = (connection: Connection): Effect.Effect<void, SqlError> =>
  connection.begin({ access: "read only", lazy: true })
