/** A bar that says how far something is. Without a terminal it says so once, at the end. */
export const progressBar = (label: string, total: number) => {
  const started = performance.now()
  const width = 40
  let done = 0
  const draw = (): void => {
    const part = done / total
    const bar = "█".repeat(Math.round(part * width)).padEnd(width, "░")
    process.stdout.write(`\r${label} ${bar} ${Math.round(part * 100)} %`)
  }
  return {
    advance(count: number): void {
      done += count
      if (process.stdout.isTTY) draw()
    },
    done(): void {
      const seconds = (performance.now() - started) / 1000
      draw()
      process.stdout.write(` · ${done.toLocaleString("en")} in ${seconds.toFixed(1)} s\n`)
    }
  }
}
