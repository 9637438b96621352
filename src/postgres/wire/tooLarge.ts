/** Whether the codec has refused a message because of its size. It has no code for that. */
export const isTooLarge = (cause: unknown): boolean =>
  cause instanceof Error && cause.message.includes("exceeds maxMessageSize")
