/** The statements, as they are written for the databases. */

export const postgres = {
  echo: "select $1::int as n",
  byKey: "select label from item where id = $1",
  sleep: "select pg_sleep($1::float8 / 1000)",
  amount: "select amount from item where id = $1",
  change: "update account set cents = cents + $1 where id = $2",
  enter: "insert into entry (account, cents) values ($1, $2)",
  cents: "select cents from account where id = $1",
  set: "update account set cents = $1 where id = $2"
}

export const mysql = {
  echo: "select ? as n",
  byKey: "select label from item where id = ?",
  sleep: "select sleep(? / 1000)",
  amount: "select amount from item where id = ?",
  change: "update account set cents = cents + ? where id = ?",
  enter: "insert into entry (account, cents) values (?, ?)",
  cents: "select cents from account where id = ?",
  set: "update account set cents = ? where id = ?"
}

/** Which account a key means. */
export const accountOf = (key: number): number => 1 + key % 1000

/** How many accounts the transfers are between. Few, so that they meet. */
export const contended = 50

/** Between which two accounts money moves, by key: never the same. */
export const partiesOf = (key: number): readonly [number, number] => {
  const from = 1 + key % contended
  const to = 1 + (key + 1 + Math.floor(key / contended) % (contended - 1)) % contended
  return [from, to]
}
