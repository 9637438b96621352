/** The source of a pattern for where a statement of a script may begin, with comments before it. */
export const boundaries = String.raw`(?:^|;)(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*`
