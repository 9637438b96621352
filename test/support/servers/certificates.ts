/** A certificate authority for one server, thrown away with it. */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { which } from "./binaries.ts"
import { ServerError } from "./ServerError.ts"
import { type Identity, own, run } from "./ServerProcess.ts"

/** The paths of PEM files. */
export interface Certificates {
  /** The authority that signed the server's and the client's certificate. */
  readonly ca: string
  /** An authority that signed neither: a client that trusts only this one must refuse the server. */
  readonly otherCa: string
  readonly serverCertificate: string
  readonly serverKey: string
  /** Made out to the user name that the server knows. */
  readonly clientCertificate: string
  readonly clientKey: string
}

/** Makes them with `openssl`, in a folder that the server's user can read. */
export const make = Effect.fnUntraced(function*(options: {
  readonly folder: string
  readonly identity: Identity
  /** The names that the server's certificate is made out to, such as `DNS:localhost` and `IP:127.0.0.1`. */
  readonly names: ReadonlyArray<string>
  readonly user: string
}): Effect.fn.Return<Certificates, ServerError> {
  const openssl = which(["openssl"], ["/usr/local/bin", "/opt/homebrew/bin"])
  if (openssl === undefined) {
    return yield* Effect.fail(
      new ServerError({ message: "A test with TLS needs the program openssl: apt-get install openssl" })
    )
  }
  fs.mkdirSync(options.folder, { mode: 0o755 })
  own(options.folder, options.identity)
  const file = (name: string) => path.join(options.folder, name)
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]

  const request = (name: string, subject: string, ...more: ReadonlyArray<string>) =>
    run(openssl, ["req", ...key, "-subj", `/CN=${subject}`, "-keyout", file(`${name}.key`), ...more])

  const authority = (name: string, subject: string) => request(name, subject, "-x509", "-out", file(`${name}.crt`))

  const issue = Effect.fnUntraced(function*(name: string, subject: string, extensions: ReadonlyArray<string>) {
    fs.writeFileSync(file(`${name}.ext`), extensions.join("\n") + "\n")
    yield* request(name, subject, "-out", file(`${name}.csr`))
    const signer = ["-CA", file("ca.crt"), "-CAkey", file("ca.key")]
    const serial = ["-set_serial", "0x" + Buffer.from(name).toString("hex")]
    const output = ["-extfile", file(`${name}.ext`), "-days", "30", "-out", file(`${name}.crt`)]
    yield* run(openssl, ["x509", "-req", "-in", file(`${name}.csr`), ...signer, ...serial, ...output])
  })

  yield* authority("ca", "Watertight test authority")
  yield* authority("other-ca", "Somebody else's authority")
  yield* issue("server", "Watertight test server", [
    `subjectAltName=${options.names.join(",")}`,
    "extendedKeyUsage=serverAuth"
  ])
  yield* issue("client", options.user, ["extendedKeyUsage=clientAuth"])

  const certificates: Certificates = {
    ca: file("ca.crt"),
    otherCa: file("other-ca.crt"),
    serverCertificate: file("server.crt"),
    serverKey: file("server.key"),
    clientCertificate: file("client.crt"),
    clientKey: file("client.key")
  }
  for (const secret of [certificates.serverKey, certificates.clientKey]) {
    // PostgreSQL refuses a key that others can read; the tests run as root or as the same user.
    fs.chmodSync(secret, 0o600)
    own(secret, options.identity)
  }
  return certificates
})
