import { brokenBy, type Trouble } from "./boundary.ts"
import type { DriverConnection, RowSource, StreamReceiver } from "./Driver.ts"

const nothing: RowSource = { pause: () => {}, resume: () => {} }

/**
 * The connection without exceptions: a driver that throws when it is given a statement has lost its connection, for
 * example because what the server sent at the beginning has left it half made. The statement fails, typed.
 */
export const throwless = <A extends DriverConnection>(connection: A, trouble: Trouble): A => {
  const failed = (receiver: Pick<StreamReceiver, "onError">, cause: unknown): void => {
    const error = brokenBy(cause)
    trouble.report(error)
    receiver.onError(error, true)
  }
  const { batch, load } = connection
  const query = connection.query.bind(connection)
  const execute = connection.execute.bind(connection)
  const stream = connection.stream.bind(connection)
  const calls: Pick<DriverConnection, "query" | "execute" | "stream" | "batch" | "load"> = {
    query: (sql, receiver) => {
      try {
        query(sql, receiver)
      } catch (cause) {
        failed(receiver, cause)
      }
    },
    execute: (sql, params, receiver) => {
      try {
        execute(sql, params, receiver)
      } catch (cause) {
        failed(receiver, cause)
      }
    },
    stream: (sql, params, receiver) => {
      try {
        return stream(sql, params, receiver)
      } catch (cause) {
        failed(receiver, cause)
        return nothing
      }
    },
    batch: batch === undefined ? undefined : (sql, rows, receiver) => {
      try {
        batch(sql, rows, receiver)
      } catch (cause) {
        failed(receiver, cause)
      }
    },
    load: load === undefined ? undefined : (sql, file, receiver) => {
      try {
        load(sql, file, receiver)
      } catch (cause) {
        failed(receiver, cause)
      }
    }
  }
  return Object.assign(connection, calls)
}
