/**
 * Tags: what a read depends on, and what a write changes.
 *
 * `["city"]` is the whole table, `{ city: [1, 2] }` are two rows of it. A read of rows is not outdated by a change of
 * other rows; a read of the table is outdated by each change. So a read of a table has the tag `city`, which every write
 * bumps, and a read of rows the tags `city:*`, which only a write of the whole table bumps, and `city:1`.
 */
import * as Hash from "effect/Hash"

/** Tags in the form of Effect's `Reactivity` keys. */
export type Tags = ReadonlyArray<string> | { readonly [table: string]: ReadonlyArray<unknown> }

const isTables = (tags: Tags): tags is ReadonlyArray<string> => Array.isArray(tags)

const row = (table: string, id: unknown): string =>
  `${table}:${typeof id === "object" && id !== null ? Hash.hash(id) : `${typeof id}:${String(id)}`}`

/** The tags of a read. */
export const readTags = (tags: Tags): ReadonlyArray<string> =>
  isTables(tags)
    ? tags
    : Object.entries(tags).flatMap(([table, ids]) => [`${table}:*`, ...ids.map((id) => row(table, id))])

/** The tags that a write outdates. */
export const writeTags = (tags: Tags): ReadonlyArray<string> =>
  isTables(tags)
    ? tags.flatMap((table) => [table, `${table}:*`])
    : Object.entries(tags).flatMap(([table, ids]) => [table, ...ids.map((id) => row(table, id))])

/** The names in `tags` that an entry may have at most. */
export const maxTagsOfEntry = 64
