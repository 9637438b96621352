/** What identifies the text of a migration and of its statements, whatever its line ends are. */
import { createHash } from "node:crypto"

/** A text without byte order mark, and with the line ends of Unix. */
export const normalize = (text: string): string => text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n")

/** The checksum of a file: SHA-256 in hexadecimal digits. */
export const checksum = (text: string): string => createHash("sha256").update(normalize(text)).digest("hex")

/** The checksum of a statement, as short as is enough to tell the statements of one file apart. */
export const shortHash = (text: string): string => checksum(text).slice(0, 16)
