import * as Data from "effect/Data"

/**
 * A statement was refused because it would not have run as the tenant that its fiber works for. It was not sent.
 *
 * **Details**
 *
 * | kind      | means                                                                                              |
 * | --------- | -------------------------------------------------------------------------------------------------- |
 * | `Missing` | a tenant is required, and the fiber has named none, nor said that there is to be none              |
 * | `Other`   | the transaction that is open is that of another tenant, or of none                                 |
 * | `Outside` | the work needs a transaction of its own: a stream, COPY, a connection of `reserve`                 |
 *
 * @category errors
 * @since 0.2.0
 */
export class TenantMismatch extends Data.TaggedError("TenantMismatch")<{
  readonly database: string
  readonly kind: "Missing" | "Other" | "Outside"
}> {
  override get message(): string {
    return `the statement was not sent: ${sentences[this.kind]}`
  }
}

const sentences: Record<TenantMismatch["kind"], string> = {
  Missing: "no tenant is named: wrap the work in `Tenant.run`, or in `Tenant.none` if it is that of no tenant",
  Other: "the transaction that is open is not that of the tenant: begin it inside of `Tenant.run`",
  Outside: "it needs a transaction that the tenant's settings hold for: wrap it in `Transaction.run`"
}
