/**
 * A store that a fleet of processes shares: entries and tags in Redis.
 *
 * **Details**
 *
 * Each tag has a token, a random text. An entry carries the tokens that its tags had *before* its read was sent, and is a
 * hit only while they are the same. An invalidation replaces the tokens, so a read that it overtakes writes an entry that
 * nothing will ever match. Nothing is lost when Redis loses keys: a missing token is made anew, and the entry that had the
 * old one does not match any more.
 *
 * A tag in doubt has a token that begins with `?`. It matches nothing, and ends by itself, should the process that set it
 * have died.
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
  readonly invalidate: (tags: ReadonlyArray<string>) => Effect.Effect<void, Redis.RedisError>
  readonly doubt: (tags: ReadonlyArray<string>, millis: number) => Effect.Effect<void, Redis.RedisError>
}

/** Whether one of the tags may be outdated at any moment. */
export const isInDoubt = (tokens: ReadonlyArray<string>): boolean => tokens.some((token) => token.startsWith("?"))

// KEYS: the entry, then the tags. ARGV: a new token, and how long tokens live.
const findScript = Redis.script(
  (keys: ReadonlyArray<string>, token: string, life: number) => [...keys, token, life],
  {
    numberOfKeys: (keys) => keys.length,
    lua: `
local answer = { redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1]) }
for i = 2, #KEYS do
  local token = redis.call('GET', KEYS[i])
  if not token then
    token = ARGV[1] .. ':' .. i
    redis.call('SET', KEYS[i], token, 'PX', ARGV[2])
  end
  answer[#answer + 1] = token
end
return answer`
  }
).withReturnType<ReadonlyArray<string | number>>()

// KEYS: the tags. ARGV: a new token, and how long it lives.
const tokenScript = Redis.script(
  (keys: ReadonlyArray<string>, token: string, life: number) => [...keys, token, life],
  {
    numberOfKeys: (keys) => keys.length,
    lua: `
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1] .. ':' .. i, 'PX', ARGV[2]) end
return 0`
  }
)

/** Makes a store. `tokenLife` must be longer than any entry lives. */
export const make = (redis: Redis.Redis["Service"], prefix: string, tokenLife: number): RedisStore => {
  const tagKey = (tag: string) => `${prefix}tag:${tag}`
  const newToken = Effect.map(Random.next, (random) => random.toString(36).slice(2))
  const find = redis.eval(findScript)
  const setTokens = redis.eval(tokenScript)
  return {
    find: (key, tags) =>
      Effect.flatMap(newToken, (token) =>
        Effect.map(
          find([`${prefix}entry:${key}`, ...tags.map(tagKey)], token, tokenLife),
          ([text, remaining, ...tokens]): Found => {
            const now = tokens.map(String)
            const entry = text === "" ? undefined : JSON.parse(String(text)) as { tokens: Array<string>; value: string }
            const isHit = entry !== undefined && !isInDoubt(now) && entry.tokens.join() === now.join()
            return { value: isHit ? entry.value : undefined, remaining: Number(remaining), tokens: now }
          }
        )),
    store: (key, value, tokens, millis) =>
      redis.send("SET", `${prefix}entry:${key}`, JSON.stringify({ tokens, value }), "PX", String(Math.ceil(millis))),
    invalidate: (tags) => Effect.flatMap(newToken, (token) => setTokens(tags.map(tagKey), token, tokenLife)),
    doubt: (tags, millis) => Effect.flatMap(newToken, (token) => setTokens(tags.map(tagKey), `?${token}`, millis))
  }
}
