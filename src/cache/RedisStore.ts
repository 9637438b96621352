/**
 * A store that a fleet of processes shares: entries, tags and doubts in Redis.
 *
 * **Details**
 *
 * Each tag has a token, a random text. An entry carries the tokens that its tags had *before* its read was sent, and is a
 * hit only while they are the same. An invalidation replaces the tokens, so a read that it overtakes writes an entry that
 * nothing will ever match. Nothing is lost when Redis loses keys: a missing token is made anew, and the entry that had the
 * old one does not match any more.
 *
 * A write puts a *doubt* on its tags before COMMIT is sent: a member of a sorted set for each tag, with the time at which
 * it lapses. While a tag has one, no entry of it is a hit and none is written. The writer takes its own doubt back when it
 * knows the outcome, so writers that overlap do not end each other's. If it dies before that, the doubt lapses by the
 * clock of Redis, and the token is replaced: the write may have been applied.
 *
 * **Gotchas**
 *
 * The scripts name several keys. On a Redis Cluster all of them must be in one slot: give a `prefix` with a hash tag, for
 * example `"{watertight}:"`. A replica that is promoted may lack the last invalidations. Then `ttl` is the bound.
 */
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Random from "effect/Random"

/** What the store knows of a key. */
export interface Found {
  readonly value: string | undefined
  /** For how many milliseconds the entry will still be there. */
  readonly remaining: number
  readonly tokens: ReadonlyArray<string>
}

export interface RedisStore {
  readonly find: (key: string, tags: ReadonlyArray<string>) => Effect.Effect<Found, Redis.RedisError>
  readonly store: (
    key: string,
    value: string,
    tokens: ReadonlyArray<string>,
    millis: number
  ) => Effect.Effect<void, Redis.RedisError>
  /** The write with this id may be applied from now on, and for so many milliseconds. */
  readonly doubt: (id: string, tags: ReadonlyArray<string>, millis: number) => Effect.Effect<void, Redis.RedisError>
  /** The write was not applied. */
  readonly settle: (id: string, tags: ReadonlyArray<string>) => Effect.Effect<void, Redis.RedisError>
  /** The write was applied. */
  readonly invalidate: (id: string, tags: ReadonlyArray<string>) => Effect.Effect<void, Redis.RedisError>
}

/** The token of a tag that is in doubt. */
const doubted = "?"

/** Whether one of the tags may be outdated at any moment. */
export const isInDoubt = (tokens: ReadonlyArray<string>): boolean => tokens.includes(doubted)

/** The text of a script, with the parameters that all scripts have: the keys, and some texts. */
const script = <Result>(lua: string) =>
  Redis.script<[keys: ReadonlyArray<string>, ...args: Array<string>]>((keys, ...args) => [...keys, ...args], {
    numberOfKeys: (keys) => keys.length,
    lua
  }).withReturnType<Result>()

const now = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

// KEYS: the entry, the tokens, the doubts. ARGV: a new token, and how long tokens live.
const findScript = script<ReadonlyArray<string | number>>(`${now}
local answer = { redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1]) }
local count = (#KEYS - 1) / 2
for i = 2, count + 1 do
  local token = redis.call('GET', KEYS[i])
  local lapsed = redis.call('ZREMRANGEBYSCORE', KEYS[i + count], '-inf', now)
  if lapsed > 0 or not token then
    token = ARGV[1] .. ':' .. i
    redis.call('SET', KEYS[i], token, 'PX', ARGV[2])
  end
  if redis.call('ZCARD', KEYS[i + count]) > 0 then token = '${doubted}' end
  answer[#answer + 1] = token
end
return answer`)

// KEYS: the doubts. ARGV: the id of the write, how long it may be applied, and how long doubts are kept.
const doubtScript = script<number>(`${now}
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[3])
end
return 0`)

// KEYS: the doubts. ARGV: the id of the write.
const settleScript = script<number>(`
for i = 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return 0`)

// KEYS: the tokens, the doubts. ARGV: the id of the write, a new token, and how long tokens live.
const invalidateScript = script<number>(`
local count = #KEYS / 2
for i = 1, count do
  redis.call('SET', KEYS[i], ARGV[2] .. ':' .. i, 'PX', ARGV[3])
  redis.call('ZREM', KEYS[i + count], ARGV[1])
end
return 0`)

/** A text that no other call has. */
export const unique = Effect.map(
  Effect.all([Random.next, Random.next]),
  (parts) => parts.map((part) => part.toString(36).slice(2)).join("")
)

/** Makes a store. `life` is how long tokens and doubts are kept: longer than any entry. */
export const make = (redis: Redis.Redis["Service"], prefix: string, life: number): RedisStore => {
  const tokensOf = (tags: ReadonlyArray<string>) => tags.map((tag) => `${prefix}tag:${tag}`)
  const doubtsOf = (tags: ReadonlyArray<string>) => tags.map((tag) => `${prefix}doubt:${tag}`)
  const find = redis.eval(findScript)
  const doubt = redis.eval(doubtScript)
  const settle = redis.eval(settleScript)
  const invalidate = redis.eval(invalidateScript)
  return {
    find: (key, tags) =>
      Effect.flatMap(unique, (token) =>
        Effect.map(
          find([`${prefix}entry:${key}`, ...tokensOf(tags), ...doubtsOf(tags)], token, String(life)),
          ([text, remaining, ...tokens]): Found => {
            const now = tokens.map(String)
            const entry = text === "" ? undefined : JSON.parse(String(text)) as { tokens: Array<string>; value: string }
            const isHit = entry !== undefined && !isInDoubt(now) && entry.tokens.join() === now.join()
            return { value: isHit ? entry.value : undefined, remaining: Number(remaining), tokens: now }
          }
        )),
    store: (key, value, tokens, millis) =>
      redis.send("SET", `${prefix}entry:${key}`, JSON.stringify({ tokens, value }), "PX", String(Math.ceil(millis))),
    doubt: (id, tags, millis) => Effect.asVoid(doubt(doubtsOf(tags), id, String(Math.ceil(millis)), String(life))),
    settle: (id, tags) => Effect.asVoid(settle(doubtsOf(tags), id)),
    invalidate: (id, tags) =>
      Effect.flatMap(
        unique,
        (token) => Effect.asVoid(invalidate([...tokensOf(tags), ...doubtsOf(tags)], id, token, String(life)))
      )
  }
}
