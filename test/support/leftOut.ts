/** Stands between the name of a test that is left out and the reason. */
export const leftOut = ": left out, because "
