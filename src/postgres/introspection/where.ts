/** Which schemas are those of users. */
export const isOurs = (schema: string): string =>
  `${schema} not in ('information_schema', 'pg_catalog') and ${schema} !~ '^pg_(toast|temp_|toast_temp_)'`
