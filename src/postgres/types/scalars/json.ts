/** `json` and `jsonb`. */
import { toJson } from "../../../values/json.ts"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readText } from "./primitives.ts"

/** The text of a document, but not one that JSON allows and the server does not. */
export const toServerJson = (value: unknown): string => {
  const text = toJson(value)
  return text.includes("\\u") && /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(text)
    ? unfit("the server's JSON has neither NUL nor half characters")
    : text
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return unfit("the text is no JSON")
  }
}

export const json: Codec<unknown> = {
  name: "json",
  shape: "anything",
  read: (bytes, offset, size) => parseJson(readText(bytes, offset, size)),
  write: (sink, value) => sink.utf8(toServerJson(value)),
  parse: parseJson,
  format: toServerJson
}

export const jsonb: Codec<unknown> = {
  name: "jsonb",
  shape: "anything",
  read: (bytes, offset, size) =>
    bytes[offset] === 1
      ? parseJson(readText(bytes, offset + 1, size - 1))
      : unfit("an unknown version of jsonb"),
  write: (sink, value) => {
    const text = toServerJson(value)
    sink.uint8(1)
    sink.utf8(text)
  },
  parse: parseJson,
  format: toServerJson
}
