/** How long a soak takes. */
export const minutes = Number(process.env["WATERTIGHT_SOAK_MINUTES"] ?? 8)
