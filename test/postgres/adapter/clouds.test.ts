/** URLs as the consoles of hosts show them: each is taken as it is copied. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { resolve } from "../../../src/postgres/adapter/Config.ts"
import type { TlsOptions } from "../../../src/postgres/wire/Socket.ts"

interface Expected {
  readonly host: string
  readonly port?: number
  readonly path?: string
  readonly user: string
  readonly database: string
  readonly tls: "none" | "try" | "any certificate" | "the certificate and the name"
  readonly startup?: Readonly<Record<string, string>>
}

const table: ReadonlyArray<readonly [where: string, url: string, expected: Expected]> = [
  [
    "Neon",
    "postgresql://alex:AbC123dEf@ep-cool-darkness-123456.us-east-2.aws.neon.tech/dbname?sslmode=require&channel_binding=require",
    {
      host: "ep-cool-darkness-123456.us-east-2.aws.neon.tech",
      user: "alex",
      database: "dbname",
      tls: "any certificate"
    }
  ],
  [
    "Neon, for clients without SNI",
    "postgres://alex:p@ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech/db?sslmode=verify-full&sslrootcert=system&options=endpoint%3Dep-cool-darkness-123456",
    {
      host: "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech",
      user: "alex",
      database: "db",
      tls: "the certificate and the name",
      startup: { options: "endpoint=ep-cool-darkness-123456" }
    }
  ],
  [
    "Supabase, direct",
    "postgresql://postgres:pa%24%24word@db.apbkobhfnmcqqzqeeqss.supabase.co:5432/postgres",
    { host: "db.apbkobhfnmcqqzqeeqss.supabase.co", user: "postgres", database: "postgres", tls: "try" }
  ],
  [
    "Supabase, pooler",
    "postgres://postgres.apbkobhfnmcqqzqeeqss:p@aws-0-us-east-1.pooler.supabase.com:6543/postgres",
    {
      host: "aws-0-us-east-1.pooler.supabase.com",
      port: 6543,
      user: "postgres.apbkobhfnmcqqzqeeqss",
      database: "postgres",
      tls: "try"
    }
  ],
  [
    "RDS",
    "postgres://app:p@db.c0ffee.eu-central-1.rds.amazonaws.com:5432/shop?sslmode=verify-full&sslrootcert=system",
    {
      host: "db.c0ffee.eu-central-1.rds.amazonaws.com",
      user: "app",
      database: "shop",
      tls: "the certificate and the name"
    }
  ],
  [
    "Aurora",
    "postgresql://app:p@shop.cluster-ro-c0ffee.eu-central-1.rds.amazonaws.com/shop?sslmode=require",
    {
      host: "shop.cluster-ro-c0ffee.eu-central-1.rds.amazonaws.com",
      user: "app",
      database: "shop",
      tls: "any certificate"
    }
  ],
  [
    "Azure, one server",
    "postgres://app@shop:p@shop.postgres.database.azure.com:5432/postgres?sslmode=require",
    { host: "shop.postgres.database.azure.com", user: "app@shop", database: "postgres", tls: "any certificate" }
  ],
  [
    "Azure, a flexible server",
    "postgresql://app%40shop.onmicrosoft.com:p@shop.postgres.database.azure.com/postgres?sslmode=require",
    {
      host: "shop.postgres.database.azure.com",
      user: "app@shop.onmicrosoft.com",
      database: "postgres",
      tls: "any certificate"
    }
  ],
  [
    "Cloud SQL",
    "postgresql://app:p@/shop?host=/cloudsql/project:europe-west1:main",
    {
      host: "/cloudsql/project:europe-west1:main",
      path: "/cloudsql/project:europe-west1:main/.s.PGSQL.5432",
      user: "app",
      database: "shop",
      tls: "none"
    }
  ],
  [
    "Cloud SQL, with the host encoded",
    "postgres://app:p@%2Fcloudsql%2Fproject%3Aeurope-west1%3Amain/shop",
    {
      host: "/cloudsql/project:europe-west1:main",
      path: "/cloudsql/project:europe-west1:main/.s.PGSQL.5432",
      user: "app",
      database: "shop",
      tls: "none"
    }
  ],
  [
    "Heroku",
    "postgres://u7:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8?ssl=true",
    { host: "ec2-1-2-3-4.compute-1.amazonaws.com", user: "u7", database: "d8", tls: "any certificate" }
  ],
  [
    "DigitalOcean",
    "postgresql://doadmin:p@db-postgresql-fra1.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
    {
      host: "db-postgresql-fra1.b.db.ondigitalocean.com",
      port: 25060,
      user: "doadmin",
      database: "defaultdb",
      tls: "any certificate"
    }
  ],
  [
    "Aiven",
    "postgres://avnadmin:AVNS_x-y_z@shop.aivencloud.com:12345/defaultdb?sslmode=require",
    { host: "shop.aivencloud.com", port: 12345, user: "avnadmin", database: "defaultdb", tls: "any certificate" }
  ],
  [
    "Fly",
    "postgres://postgres:p@shop.flycast:5432/shop?sslmode=disable",
    { host: "shop.flycast", user: "postgres", database: "shop", tls: "none" }
  ],
  [
    "Docker Compose",
    "postgres://postgres:postgres@db/postgres",
    { host: "db", user: "postgres", database: "postgres", tls: "try" }
  ]
]

const tlsOf = ({ mode, options }: TlsOptions): Expected["tls"] => {
  if (mode === "disable") return "none"
  if (mode !== "require") return "try"
  return options.rejectUnauthorized === false ? "any certificate" : "the certificate and the name"
}

describe("a URL as it is copied from", () => {
  for (const [where, url, expected] of table) {
    it.effect(where, () =>
      Effect.gen(function*() {
        const { endpoint, startup } = yield* resolve({ url: Redacted.make(url) })
        assert.strictEqual(endpoint.host, expected.host)
        assert.strictEqual(endpoint.port, expected.port ?? 5432)
        assert.strictEqual(endpoint.path, expected.path)
        const { database, user, ...rest } = startup as Record<string, string>
        assert.strictEqual(user, expected.user)
        assert.strictEqual(database, expected.database)
        assert.deepInclude(rest, expected.startup ?? {})
        assert.strictEqual(tlsOf(endpoint.tls), expected.tls)
      }))
  }
})
