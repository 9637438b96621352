/** Compares a version such as `10.11.19-MariaDB` with the least one that is needed. */
export const isAtLeast = (version: string, least: ReadonlyArray<number>): boolean => {
  const parts = version.split(/[.-]/, 3).map(Number)
  for (let index = 0; index < least.length; index++) {
    const difference = (parts[index] ?? 0) - least[index]!
    if (difference !== 0) return difference > 0
  }
  return true
}
