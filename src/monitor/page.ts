/** The page for browsers: one file of each kind, without a build step and without anything from elsewhere. */

export const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>watertight</title>
<link rel="stylesheet" href="top.css">
<script type="module" src="top.js"></script>
</head>
<body>
<header><h1>watertight</h1><p id="state" role="status">connecting</p></header>
<main id="databases"></main>
</body>
</html>
`

export const css = `:root { color-scheme: light dark; font: 14px/1.45 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; }
header { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
h1 { font-size: 1.1rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: .9rem; margin: 1rem 0 .25rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .5rem; margin: 0; }
dt { opacity: .75; font-size: .8rem; }
dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; border-bottom: 1px solid #8884; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.text { overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .85rem; }
section section { overflow-x: auto; }
.bad { color: #c22; font-weight: 600; }
@media (prefers-color-scheme: dark) { .bad { color: #f77; } }
`

export const js = `const state = document.getElementById("state")
const main = document.getElementById("databases")

const element = (name, text, className) => {
  const made = document.createElement(name)
  if (text !== undefined) made.textContent = text
  if (className !== undefined) made.className = className
  return made
}

const millis = (value) => value < 1000 ? Math.round(value) + " ms" : (value / 1000).toFixed(1) + " s"

const facts = (pairs) => {
  const list = element("dl")
  for (const [name, value, isBad] of pairs) {
    const pair = element("div")
    pair.append(element("dt", name), element("dd", String(value), isBad ? "bad" : undefined))
    list.append(pair)
  }
  return list
}

const table = (title, heads, rows) => {
  const section = element("section")
  section.append(element("h3", title))
  const made = element("table")
  const head = element("tr")
  for (const [text, kind] of heads) {
    const cell = element("th", text, kind)
    cell.scope = "col"
    head.append(cell)
  }
  const body = element("tbody")
  for (const row of rows) {
    const line = element("tr")
    row.forEach((value, index) => line.append(element("td", String(value), heads[index][1])))
    body.append(line)
  }
  const top = element("thead")
  top.append(head)
  made.append(top, body)
  section.append(made)
  return section
}

const draw = (database) => {
  const { activity, breaker, cache, happenings, health, lostCommits, name, nodes, pool, repeated, statements } = database
  const section = element("section")
  section.append(element("h2", name))
  section.append(facts([
    ["health", health.status, health.status !== "Healthy"],
    ["connections", pool.total + " of " + pool.effectiveMax],
    ["in use", pool.used, pool.used >= pool.effectiveMax],
    ["idle", pool.idle],
    ["opening", pool.connecting],
    ["waiting", pool.waiting, pool.waiting > 0],
    ["breaker", breaker ?? "none", breaker !== undefined && breaker !== "Closed"],
    ["repeated", repeated],
    ["COMMITs lost", lostCommits.applied + lostCommits.notApplied + lostCommits.unknown, lostCommits.unknown > 0]
  ]))
  for (const reason of health.reasons) section.append(element("p", reason, "bad"))
  if (nodes !== undefined) {
    section.append(table("nodes", [["node"], ["is"], ["for", "number"], ["in use", "number"], ["connections", "number"],
      ["waiting", "number"], ["stale", "number"], ["why", "text"]],
      nodes.map((one) => [one.name, one.status, millis(one.forMillis), one.used, one.total, one.waiting,
        one.status === "Primary" ? "-" : one.staleMillis === undefined ? "unknown" : millis(one.staleMillis),
        one.why ?? ""])))
  }
  if (activity.waiters.length > 0) {
    section.append(table("who waits", [["for", "number"], ["span"], ["fiber", "number"]],
      activity.waiters.slice(0, 20).map((one) => [millis(one.waitedMillis), one.span ?? "-", one.fiberId])))
  }
  if (activity.holders.length > 0) {
    section.append(table("who has a connection", [["for", "number"], ["span"], ["fiber", "number"], ["session"]],
      activity.holders.slice(0, 20).map((one) => [millis(one.heldMillis), one.span ?? "-", one.fiberId, one.connectionId])))
  }
  if (statements !== undefined && statements.length > 0) {
    section.append(table("statements", [["total", "number"], ["count", "number"], ["mean", "number"], ["longest", "number"],
      ["failed", "number"], ["statement", "text"]],
      statements.slice(0, 20).map((one) => [millis(one.totalMillis), one.count, millis(one.totalMillis / one.count),
        millis(one.maxMillis), one.failed, one.form])))
  }
  if (Object.keys(cache).length > 0) {
    section.append(element("h3", "cache"), facts(Object.entries(cache)))
  }
  if (happenings.length > 0) {
    section.append(table("what happened", [["at"], ["what"]],
      happenings.map((one) => [new Date(one.at).toLocaleTimeString(),
        one.what + (one.count > 1 ? ", " + one.count + " times" : "")])))
  }
  return section
}

const refresh = async () => {
  try {
    const answer = await fetch("snapshot", { cache: "no-store", signal: AbortSignal.timeout(5000) })
    if (!answer.ok) throw new Error(answer.statusText)
    const snapshot = await answer.json()
    main.replaceChildren(...snapshot.databases.map(draw))
    state.textContent = "process " + snapshot.process.pid + ", up for " + snapshot.process.uptimeSeconds + " s"
    state.className = ""
  } catch {
    state.textContent = "reconnecting"
    state.className = "bad"
  }
  setTimeout(refresh, 1000)
}

refresh()
`
