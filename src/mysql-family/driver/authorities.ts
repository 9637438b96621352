import * as Tls from "node:tls"

/** The authorities that Node trusts, for a driver that would trust others if none were named. */
export const defaultAuthorities = (): ReadonlyArray<string> => {
  const { getCACertificates } = Tls as { readonly getCACertificates?: (type: "default") => ReadonlyArray<string> }
  return getCACertificates?.("default") ?? Tls.rootCertificates
}
