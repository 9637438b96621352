/** A bar that shows how far we are and how long it still takes. On a terminal only; elsewhere a line now and then. */

export interface Progress {
  /** What is being done now. */
  readonly begin: (what: string) => void
  /** A step of so many estimated seconds is done. */
  readonly finish: (estimated: number) => void
  /** Writes a text where the bar was. */
  readonly print: (text: string) => void
  readonly close: () => void
}

/** `total` is in estimated seconds; how far the estimate is off is learnt on the way. */
export const make = (total: number): Progress => {
  const out = process.stderr
  const interactive = out.isTTY
  const startedAt = performance.now()
  let done = 0
  let doing = ""
  let stepAt = startedAt
  let lastLine = 0

  const remaining = (): number => {
    const now = performance.now()
    const elapsed = (stepAt - startedAt) / 1000
    const factor = done === 0 ? 1 : elapsed / done
    return Math.max(0, (total - done) * factor - (now - stepAt) / 1000)
  }

  const draw = (): void => {
    if (!interactive) return
    const part = Math.min(1, done / total)
    const filled = Math.round(part * 30)
    const line = `${"█".repeat(filled)}${"░".repeat(30 - filled)} ${String(Math.round(part * 100)).padStart(3)} %  ${
      clock(remaining())
    } left  ${doing}`
    out.write(`\r\x1b[K${line.slice(0, (out.columns ?? 100) - 1)}`)
  }

  const timer = interactive ? setInterval(draw, 250) : undefined
  timer?.unref()

  return {
    begin: (what) => {
      doing = what
      stepAt = performance.now()
      draw()
      if (!interactive && (stepAt - lastLine > 20_000 || lastLine === 0)) {
        lastLine = stepAt
        out.write(`${Math.round((done / total) * 100)} %, ${clock(remaining())} left: ${what}\n`)
      }
    },
    finish: (estimated) => {
      done += estimated
      stepAt = performance.now()
      draw()
    },
    print: (text) => {
      if (interactive) out.write("\r\x1b[K")
      process.stdout.write(text + "\n")
      draw()
    },
    close: () => {
      clearInterval(timer)
      if (interactive) out.write("\r\x1b[K")
    }
  }
}

/** Minutes and seconds. */
export const clock = (seconds: number): string => {
  const whole = Math.round(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`
}
