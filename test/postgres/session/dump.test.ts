/** What `pg_dump` writes, run as a script into another database: dumped again it is the same. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { Script } from "watertight/postgres"
import { describeWith, PostgresServer } from "../../support/index.ts"
import * as Binaries from "../../support/servers/binaries.ts"
import { databaseAt } from "../clientSupport.ts"

/** Something of each kind that a dump writes in a way of its own. */
const source = `
  create extension if not exists plpgsql;
  create schema "odd ""name";
  create type mood as enum ('it''s', 'a;b', 'é');
  create type pair as (a int, b text);
  create domain positive as int check (value > 0);
  create sequence counted start 7;
  create table person (
    id bigint generated always as identity primary key, name text not null default 'a;b', m mood, p pair, n positive,
    bytes bytea, doc jsonb, tags text[], at timestamptz, "from" numeric(20, 5), double float8,
    twice numeric generated always as ("from" * 2) stored
  );
  create table "odd ""name"."select" (id bigint primary key references person, note text);
  comment on table person is 'with ''quotes'', \\ and ; in it';
  create function greet(a text) returns text language plpgsql as $body$
  begin
    if a = ';' then return 'semicolon'; end if; -- ;
    return format($$hello; %s$$, a);
  end $body$;
  create function twice(a int) returns int begin atomic select case when a > 0 then a * 2 else 0 end; end;
  create procedure noop() language sql as 'select 1; select 2';
  create view people as select id, name, case when n > 1 then 'many' else 'one' end as amount from person;
  create materialized view numbers as select generate_series(1, 3) as n;
  create function on_change() returns trigger language plpgsql as 'begin return new; end';
  create trigger changed before update on person for each row execute function on_change();
  create table numbers_of (n int);
  create rule quiet as on delete to numbers_of do instead (select 1; select 2);
  create index by_name on person (lower(name)) where n > 1;
  alter table person enable row level security;
  create policy own on person using (name = current_setting('app.name', true));
  create publication news for table person;
  insert into person (name, m, p, n, bytes, doc, tags, at, "from", double)
    select t, 'a;b', row(1, t::text)::pair, 3, decode('00ff5c0a', 'hex'), jsonb_build_object('a', t), array[t, null, '{};,"\\'],
      '2024-02-29 12:34:56.789012+05', 12345.678, 'NaN'
    from unnest(array['plain', E'tab\\t and \\\\. and \\n line', '\\.', '', '漢💧', 'a;b -- c', '$$ $1 ?', repeat('x', 100000)]) t;
`

describeWith("standby")("a dump of pg_dump", () => {
  it.live("is restored by Script.run, and dumped again it is the same", (context) =>
    Effect.gen(function*() {
      const program = path.join(path.dirname(yield* Binaries.locate(PostgresServer.requirement)), "pg_dump")
      // The servers of npm come without it.
      if (!fs.existsSync(program)) return context.skip()
      const server = yield* PostgresServer.make()
      const at = (database: string) => {
        const url = new URL(server.url)
        url.pathname = `/${database}`
        return url.href
      }
      const dump = (database: string, ...more: ReadonlyArray<string>) =>
        Effect.callback<string, Error>((resume) => {
          execFile(program, [...more, at(database)], { maxBuffer: 1 << 28 }, (error, stdout) => {
            resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
          })
        })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        for (const name of ["source", "copied", "inserted"]) yield* sql`create database ${sql(name)}`
      }).pipe(Effect.provide(databaseAt(server.url)))
      yield* Script.run(source).pipe(Effect.provide(databaseAt(at("source"))))
      // A random word marks the dumps of newer versions.
      const plain = (text: string) => text.replace(/^\\(?:un)?restrict .*$/gm, "")
      const expected = plain(yield* dump("source"))
      assert.include(expected, "COPY public.person")
      const ways = { copied: [], inserted: ["--inserts", "--rows-per-insert=3"] } as const
      for (const [database, options] of Object.entries(ways)) {
        const text = yield* dump("source", ...options)
        yield* Script.run(text).pipe(Effect.provide(databaseAt(at(database))))
        assert.strictEqual(plain(yield* dump(database)), expected, database)
        const again = Script.run(yield* dump("source", "--clean", "--if-exists", ...options), {
          transaction: false
        })
        yield* again.pipe(Effect.provide(databaseAt(at(database))))
        assert.strictEqual(plain(yield* dump(database)), expected, `${database}, statement by statement`)
      }
    }).pipe(Effect.scoped), 60_000)
})
