/**
 * What borrowers leave behind in a session, so that it is undone before the next one gets it, and only then.
 *
 * The text of a statement tells whether it may change anything that outlives it; the server's flags tell of what a
 * routine has changed. What neither shows is undone only where a reset is wanted every time.
 */
import type { Profile } from "../statement/statements.ts"

/** How much of what a borrower changed is undone. */
export type ResetPolicy = "detect" | "always" | "never"

export class SessionResidue {
  policy: ResetPolicy = "detect"
  /** Something is left that must not reach the next borrower, whatever the policy is. */
  isSpoiled = false
  /** Another database was chosen: prepared statements would still be about the one before. */
  hasMoved = false
  /** A role was chosen. */
  hasRole = false
  /** The session is not as it was set up, as far as can be seen. */
  hasChanged = false
  /** Anything was run since the session was set up. */
  private hasRun = false

  /** Whether the session has to be set up again for the next borrower. */
  get isUsed(): boolean {
    switch (this.policy) {
      case "detect":
        return this.isSpoiled || this.hasChanged
      case "always":
        return this.isSpoiled || this.hasRun
      case "never":
        return this.isSpoiled
    }
  }

  /** A statement goes out. */
  noteSent(profile: Profile): void {
    this.hasRun = true
    if (profile.changesSession) this.hasChanged = true
    if (profile.words.startsWith("USE")) this.hasMoved = true
    if (profile.words === "SET ROLE") this.hasRole = true
  }

  /** BEGIN goes out. */
  noteBegun(): void {
    this.hasRun = true
  }

  /** The session is as it was set up. */
  clear(): void {
    this.isSpoiled = false
    this.hasMoved = false
    this.hasRole = false
    this.hasChanged = false
    this.hasRun = false
  }
}
