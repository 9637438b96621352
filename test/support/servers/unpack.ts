/**
 * Unpacks a server from Debian packages into the cache. Nothing is installed: apt's lists, cache and status are in a
 * folder of their own, no script of a package runs, and root is not needed.
 *
 * The packages come with every library that they depend on, down to the C library, and each program is started through
 * the loader among them. So the server may come from a newer release than the one of this machine.
 */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import { cacheFolder, draftFolder, keepDraft } from "./cache.ts"
import { ServerError } from "./ServerError.ts"
import { run } from "./ServerProcess.ts"

/** What to unpack, and what of it to run. */
export interface Package {
  /** The folder in the cache, without the release. */
  readonly name: string
  readonly packages: ReadonlyArray<string>
  /** Where the programs lie in the packages; a folder means all of its files. The first with a match counts. */
  readonly programs: ReadonlyArray<string>
  /** The release of Debian; that of this machine's own package sources when nothing is said. */
  readonly release?: string | undefined
  /** An option that tells the programs where the packages were unpacked, such as `--basedir`. */
  readonly baseOption?: { readonly name: string; readonly programs: ReadonlyArray<string> } | undefined
}

// What is unpacked differently has another folder.
const folderOf = (wanted: Package): string => {
  const kind = createHash("sha256").update(JSON.stringify(wanted)).digest("hex").slice(0, 8)
  return path.join(cacheFolder(), `${wanted.name}-${wanted.release ?? "own"}-${kind}`)
}

/** The folder with the programs, if they have been unpacked. */
export const unpacked = (wanted: Package): string | undefined => {
  const programs = path.join(folderOf(wanted), "programs")
  return fs.existsSync(programs) ? programs : undefined
}

/** Whether this machine can unpack Debian packages. */
export const canUnpack = (): boolean => fs.existsSync("/usr/bin/apt-get") && fs.existsSync("/usr/bin/dpkg-deb")

/** Unpacks the packages, unless that was done before, and answers the folder with the programs. */
export const unpack = Effect.fnUntraced(function*(wanted: Package): Effect.fn.Return<string, ServerError> {
  const before = unpacked(wanted)
  if (before !== undefined) return before
  const folder = folderOf(wanted)
  process.stderr.write(`unpacking ${wanted.packages.join(" ")} into ${folder} ...\n`)
  const draft = draftFolder(wanted.name)
  return yield* download(wanted, draft).pipe(
    Effect.andThen((packages) => extract(packages, path.join(draft, "root"))),
    Effect.andThen(Effect.try({
      try: () => {
        writeLaunchers(wanted, draft, folder)
        fs.rmSync(path.join(draft, "apt"), { recursive: true, force: true })
        keepDraft(draft, folder)
        return path.join(folder, "programs")
      },
      catch: (cause) => new ServerError({ message: `Unpacking ${wanted.name} failed: ${cause}`, cause })
    })),
    Effect.ensuring(Effect.sync(() => fs.rmSync(draft, { recursive: true, force: true })))
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// Downloading
// ---------------------------------------------------------------------------------------------------------------------

/** The address of Debian's archive among the package sources of this machine. */
const debianArchive = (): string | undefined =>
  execFileSync("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"], { encoding: "utf8" })
    .split("\n").find((address) => /\/debian\/?$/.test(address))

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

/** Lets apt work on a state of its own. An empty status says that no library is there yet. */
const aptOptions = (wanted: Package, state: string): ReadonlyArray<string> | ServerError => {
  for (const name of ["lists/partial", "cache/partial"]) fs.mkdirSync(path.join(state, name), { recursive: true })
  fs.writeFileSync(path.join(state, "status"), "")
  const options = {
    "Dir::State": state,
    "Dir::State::lists": path.join(state, "lists"),
    "Dir::State::status": path.join(state, "status"),
    "Dir::Cache": path.join(state, "cache"),
    "Dir::Cache::archives": path.join(state, "cache"),
    "APT::Sandbox::User": process.getuid?.() === 0 ? "root" : "",
    "APT::Install-Recommends": "false",
    "Acquire::Languages": "none",
    "Debug::NoLocking": "true"
  }
  const sources: Record<string, string> = {}
  if (wanted.release !== undefined) {
    const archive = debianArchive()
    if (archive === undefined) {
      return new ServerError({ message: "The package sources of this machine name no archive of Debian" })
    }
    const list = path.join(state, "sources.list")
    const signed = fs.existsSync(keyring) ? `[signed-by=${keyring}] ` : ""
    fs.writeFileSync(list, `deb ${signed}${archive} ${wanted.release} main\n`)
    Object.assign(sources, {
      "Dir::Etc::SourceList": list,
      "Dir::Etc::SourceParts": "/dev/null",
      "Dir::Etc::Preferences": "/dev/null",
      "Dir::Etc::PreferencesParts": "/dev/null"
    })
  }
  return ["-qq", ...Object.entries({ ...options, ...sources }).map(([name, value]) => `-o${name}=${value}`)]
}

const download = Effect.fnUntraced(function*(
  wanted: Package,
  draft: string
): Effect.fn.Return<ReadonlyArray<string>, ServerError> {
  const state = path.join(draft, "apt")
  const options = aptOptions(wanted, state)
  if (!Array.isArray(options)) return yield* Effect.fail(options as ServerError)
  yield* run("apt-get", [...options, "update"], { timeout: 300 })
  yield* run("apt-get", [...options, "install", "--download-only", "-y", ...wanted.packages], { timeout: 600 })
  const cache = path.join(state, "cache")
  return fs.readdirSync(cache).filter((name) => name.endsWith(".deb")).map((name) => path.join(cache, name))
})

// Packages that servers depend on for their installation, and not to run.
const unneeded = /^(perl|libperl|systemd|dpkg|debconf|tar_|coreutils|gawk|adduser|passwd|login|mount|util-linux_)/

const extract = (packages: ReadonlyArray<string>, root: string) =>
  Effect.forEach(
    packages.filter((file) => !unneeded.test(path.basename(file))),
    (file) => run("dpkg-deb", ["-x", file, root], { timeout: 120 }),
    { concurrency: 2, discard: true }
  )

// ---------------------------------------------------------------------------------------------------------------------
// Launchers
// ---------------------------------------------------------------------------------------------------------------------

const find = (folder: string, matches: (file: string) => boolean): ReadonlyArray<string> =>
  fs.existsSync(folder)
    ? fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(matches).map((name) =>
      path.join(folder, name)
    )
    : []

const programsOf = (wanted: Package, root: string): ReadonlyArray<string> =>
  wanted.programs.flatMap((pattern) => {
    const [before, after] = pattern.split("/*/")
    if (after === undefined) return [path.join(root, pattern)]
    // A folder by version: the newest.
    const parent = path.join(root, before!)
    const versions = fs.readdirSync(parent).sort((a, b) => Number(b) - Number(a))
    const folder = path.join(parent, versions[0]!, after)
    return fs.readdirSync(folder).map((name) => path.join(folder, name))
  }).filter((file) => fs.existsSync(file) && fs.statSync(file).isFile())

const isElf = (file: string): boolean => {
  const start = Buffer.alloc(4)
  const opened = fs.openSync(file, "r")
  fs.readSync(opened, start, 0, 4, 0)
  fs.closeSync(opened)
  return start.equals(Buffer.from([0x7f, 0x45, 0x4c, 0x46]))
}

const isPython = (file: string): boolean => /^#!.*\bpython3\b/.test(fs.readFileSync(file, "utf8").slice(0, 100))

/** The program itself, where there is a launcher in its place. */
const elfOf = (file: string): string => fs.existsSync(`${file}.program`) ? `${file}.program` : file

/** Replaces each program by a script that starts it through the loader of its own C library, in the same place. */
const writeLaunchers = (wanted: Package, draft: string, folder: string): void => {
  const root = path.join(draft, "root")
  // The scripts name the place where the draft will be.
  const final = (file: string) => path.join(folder, path.relative(draft, file))
  const inLibraries = (matches: (name: string) => boolean) =>
    ["usr/lib", "usr/lib64", "lib64", "lib"].flatMap((parent) => find(path.join(root, parent), matches))
  const loader = inLibraries((name) => /(^|\/)ld-linux[^/]*\.so[^/]*$/.test(name)).find((file) =>
    fs.statSync(file).isFile()
  )
  if (loader === undefined) throw new Error("the packages have no loader")
  const libraries = [
    ...inLibraries((name) => /^[^/]*-linux-gnu[^/]*$/.test(name)),
    path.join(root, "usr/lib"),
    // Libraries that a server brings for itself.
    ...inLibraries((name) => /private\/[^/]*\.so/.test(name)).map((file) => path.dirname(file))
  ]
  const search = [...new Set(libraries)].map(final).join(":")
  const programs = path.join(draft, "programs")
  const loaders = path.join(draft, "loaders")
  for (const each of [programs, loaders]) fs.mkdirSync(each)
  for (const file of programsOf(wanted, root)) {
    const named = wanted.baseOption?.programs.includes(path.basename(file)) === true
    const base = named ? ` ${wanted.baseOption.name}=${final(path.join(root, "usr"))}` : ""
    const target = `${file}.program`
    fs.renameSync(file, target)
    // The system calls a process by the file that was started, and scripts look for it by its name.
    const through = (program: string, name: string) => {
      const named = path.join(loaders, path.basename(name))
      if (!fs.existsSync(named)) fs.symlinkSync(path.relative(loaders, loader), named)
      return `exec ${final(named)} --library-path ${search} --argv0 ${final(name)} ${final(program)}`
    }
    const python = path.join(root, "usr/bin/python3")
    const start = isElf(target)
      ? through(target, file)
      : isPython(target)
      // Python finds its modules, and starts itself again, by the name under which it was started.
      ? `export PYTHONHOME=${final(path.join(root, "usr"))}\n` +
        `export PYTHONPATH=${final(path.join(root, "usr/lib/python3/dist-packages"))}\n` +
        `${through(elfOf(python), python)} ${final(target)}`
      : `exec ${final(target)}`
    fs.writeFileSync(file, `#!/bin/sh\n${start} "$@"${base}\n`, { mode: 0o755 })
    fs.symlinkSync(final(file), path.join(programs, path.basename(file)))
  }
}
