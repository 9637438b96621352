/** For each rule of the linter: what it prevents, and how the same is done without that. */

/** A rule on one database. */
export interface Outage {
  readonly rule: string
  /** What is there before, beside the tables `a` and `b` with many rows. */
  readonly given?: ReadonlyArray<string>
  /** The statements of one migration. */
  readonly bad: ReadonlyArray<string>
  /**
   * What happens to the running program:
   *
   * - `waits`: its statements wait until the migration has gone through all rows;
   * - `queues`: the migration waits for somebody who reads, and the program's statements wait behind it;
   * - `fails`: its statement fails afterwards, with this code.
   */
  readonly outage: "waits" | "queues" | { readonly fails: string | number }
  /** What the running program does meanwhile, or afterwards. */
  readonly program: ReadonlyArray<string>
  /** The same done safely, one migration each. */
  readonly safe: ReadonlyArray<string>
  /** What the next version of the program does after the safe way, where it is not what the running one does. */
  readonly next?: ReadonlyArray<string>
  /** What the server says where the safe way refuses instead of keeping others waiting. */
  readonly refused?: ReadonlyArray<number>
}

const read = "select v from a where id = 1"
const write = "insert into a (id, v) values (1000001, 1)"

/** What the linter suggests where nothing is safe but to know: the migration with the reason. */
const known = (rule: string, statement: string) => `-- watertight: allow=${rule} unused since version 12\n${statement}`

export const postgres: ReadonlyArray<Outage> = [
  {
    rule: "pg-index-concurrently",
    bad: ["create index i on a (v)"],
    outage: "waits",
    program: [write],
    safe: ["create index concurrently i on a (v)"]
  },
  {
    rule: "pg-drop-index-concurrently",
    given: ["create index i on a (v)"],
    bad: ["drop index i"],
    outage: "queues",
    program: [read, write],
    safe: ["drop index concurrently i"]
  },
  {
    rule: "pg-set-not-null",
    bad: ["alter table a alter column v set not null"],
    outage: "waits",
    program: [read, write],
    safe: [
      "alter table a add constraint c check (v is not null) not valid",
      "alter table a validate constraint c",
      "alter table a alter column v set not null",
      "alter table a drop constraint c"
    ]
  },
  {
    rule: "pg-constraint-not-valid",
    bad: ["alter table a add constraint c check (v >= 0)"],
    outage: "waits",
    program: [read, write],
    safe: ["alter table a add constraint c check (v >= 0) not valid", "alter table a validate constraint c"]
  },
  {
    rule: "pg-constraint-not-valid",
    bad: ["alter table a add constraint f foreign key (b) references b (id)"],
    outage: "waits",
    program: [write, "insert into b values (1000001)"],
    safe: [
      "alter table a add constraint f foreign key (b) references b (id) not valid",
      "alter table a validate constraint f"
    ]
  },
  {
    rule: "pg-unique-using-index",
    bad: ["alter table a add constraint u unique (k)"],
    outage: "waits",
    program: [read, write],
    safe: ["create unique index concurrently u on a (k)", "alter table a add constraint u unique using index u"]
  },
  {
    rule: "pg-column-type",
    bad: ["alter table a alter v type bigint"],
    outage: "waits",
    program: [read, write],
    safe: ["alter table a add column v2 bigint", "update a set v2 = v where id between 101 and 200"]
  },
  {
    rule: "pg-volatile-default",
    bad: ["alter table a add column r double precision default random()"],
    outage: "waits",
    program: [read, write],
    safe: [
      "alter table a add column r double precision",
      "alter table a alter column r set default random()",
      "update a set r = random() where id between 101 and 200"
    ]
  },
  {
    rule: "pg-validate-same-transaction",
    bad: ["alter table a add constraint c check (v >= 0) not valid", "alter table a validate constraint c"],
    outage: "waits",
    program: [read, write],
    safe: ["alter table a add constraint c check (v >= 0) not valid", "alter table a validate constraint c"]
  },
  {
    rule: "backfill",
    bad: ["update a set v = v + 1"],
    outage: "waits",
    program: ["update a set v = 7 where id = 900"],
    safe: ["update a set v = v + 1 where id between 101 and 200"]
  },
  {
    rule: "add-not-null",
    given: ["truncate a"],
    bad: ["alter table a add column w int not null"],
    outage: { fails: "23502" },
    program: [write],
    safe: ["alter table a add column w int not null default 0"]
  },
  {
    rule: "rename",
    bad: ["alter table a rename column v to w"],
    outage: { fails: "42703" },
    program: [read],
    safe: ["alter table a add column w int"]
  },
  {
    rule: "drop",
    bad: ["alter table a drop column v"],
    outage: { fails: "42703" },
    program: [read],
    safe: [known("drop", "alter table a drop column v")],
    next: ["select id from a where id = 1"]
  }
]

export const mysql: ReadonlyArray<Outage> = [
  {
    rule: "my-algorithm",
    bad: ["alter table a modify v bigint"],
    outage: "waits",
    program: [write],
    safe: ["alter table a modify v bigint, algorithm=inplace, lock=none"],
    // Either of "not supported" and "not supported for this reason".
    refused: [1845, 1846]
  },
  {
    rule: "my-algorithm",
    bad: ["alter table a add index i (v), lock=shared"],
    outage: "waits",
    program: [write],
    safe: ["alter table a add index i (v), algorithm=inplace, lock=none"]
  },
  {
    rule: "backfill",
    bad: ["update a set v = v + 1"],
    outage: "waits",
    program: ["update a set v = 7 where id = 900"],
    safe: ["update a set v = v + 1 where id between 101 and 200"]
  },
  {
    rule: "add-not-null",
    bad: ["alter table a add column w int not null, algorithm=instant"],
    outage: { fails: 1364 },
    program: [write],
    safe: ["alter table a add column w int not null default 0, algorithm=instant"]
  },
  {
    rule: "rename",
    bad: ["rename table a to c"],
    outage: { fails: 1146 },
    program: [read],
    safe: ["create table c (id int primary key)"]
  },
  {
    rule: "drop",
    bad: ["drop table a"],
    outage: { fails: 1146 },
    program: [read],
    safe: [known("drop", "drop table a")],
    next: ["select id from b where id = 1"]
  }
]
