/** Which lines of a stack are the program's. */

/** The folder of this library, as frames name it. */
const own = decodeURIComponent(new URL("..", import.meta.url).href)

const foreign =
  /node:|node_modules[\\/](?:effect|@effect|mysql2|mariadb|@electric-sql|kysely|drizzle-orm)[\\/]|<anonymous>/

/** The frames of the program: not those of the runtime, of Effect, of drivers and builders, and of this library. */
export const programFrames = (stack: string | undefined): ReadonlyArray<string> =>
  (stack ?? "").split("\n").filter((line) =>
    line.startsWith("    at ") && !foreign.test(line) && !line.includes(own) && !line.includes(own.slice(7))
  )
