/** What a connection is bound to: the certificate of the server (`tls-server-end-point`, RFC 5929). */
import type { Duplex } from "node:stream"
import type { TLSSocket } from "node:tls"
import { crypto } from "../../node/builtins.ts"

/** The hash of the server's certificate. `undefined` without TLS, and where the certificate's own hash is not known. */
export const endPointOf = (socket: Duplex): Uint8Array | undefined => {
  const certificate = (socket as Partial<TLSSocket>).getPeerCertificate?.().raw
  const hash = certificate === undefined ? undefined : hashOf(certificate)
  return hash === undefined ? undefined : crypto().createHash(hash).update(certificate!).digest()
}

/** The hash functions of signatures, by the bytes of their object identifiers. Of the weak ones SHA-256 is taken. */
const hashes: Readonly<Record<string, string>> = {
  // RSA: MD5, SHA-1, and the family of SHA-2.
  "2a864886f70d010104": "sha256",
  "2a864886f70d010105": "sha256",
  "2a864886f70d01010e": "sha224",
  "2a864886f70d01010b": "sha256",
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
  // ECDSA.
  "2a8648ce3d0401": "sha256",
  "2a8648ce3d040301": "sha224",
  "2a8648ce3d040302": "sha256",
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512"
}

/**
 * Node does not say by which algorithm a certificate is signed. It is a sequence of what is signed, the algorithm, which
 * begins with its identifier, and the signature.
 */
const hashOf = (certificate: Uint8Array): string | undefined => {
  const signed = elementAt(certificate, elementAt(certificate, 0).content)
  const identifier = elementAt(certificate, elementAt(certificate, signed.end).content)
  return hashes[Buffer.from(certificate.subarray(identifier.content, identifier.end)).toString("hex")]
}

/** Where the content of an element of DER begins and ends. */
const elementAt = (bytes: Uint8Array, offset: number): { readonly content: number; readonly end: number } => {
  const length = bytes[offset + 1]!
  if (length < 0x80) return { content: offset + 2, end: offset + 2 + length }
  const content = offset + 2 + (length & 0x7f)
  let long = 0
  for (let index = offset + 2; index < content; index++) long = long * 256 + bytes[index]!
  return { content, end: content + long }
}
