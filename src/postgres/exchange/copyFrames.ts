/**
 * The frame around a piece of data of a COPY.
 */

/** How long the head of a `CopyData` is. */
export const copyHeaderSize = 5

/** Writes the head of a `CopyData` with that many bytes of data behind it. */
export const writeCopyHeader = (frame: Uint8Array, offset: number, length: number): void => {
  const size = length + 4
  frame[offset] = 0x64
  frame[offset + 1] = size >>> 24
  frame[offset + 2] = size >>> 16
  frame[offset + 3] = size >>> 8
  frame[offset + 4] = size
}

/** A COPY that has ended without COPY as its tag was another statement. */
export const notCopy = { what: "the statement is no COPY", cause: undefined }
