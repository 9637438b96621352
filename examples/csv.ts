/** A table as CSV, in constant memory: the server writes it, and who reads slowly slows the server down. */
import { Effect, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { Copy } from "watertight/postgres"

export const cities = (atLeast: number) =>
  Copy.stream({
    // COPY takes no parameters. A number that was checked to be one cannot be anything else.
    query: `select name, people from city where people >= ${Math.trunc(atLeast)} order by people desc`,
    format: "csv",
    header: true
  })

/** The connection is lent until the last row is written. */
export const response = (atLeast: number) =>
  Effect.map(
    Effect.context<Stream.Services<ReturnType<typeof cities>>>(),
    (context) =>
      HttpServerResponse.stream(Stream.orDie(Stream.provideContext(cities(atLeast), context)), {
        contentType: "text/csv"
      })
  )
