/** The types of users: each that a column has is one export of `types.ts`. */
import type { Type, TypeName } from "../introspection/Introspection.ts"
import { pair } from "./describe.ts"
import { jsdoc, key, type Names, pascalCase, quoted } from "./names.ts"
import { postgresType } from "./postgresTypes.ts"

export class NamedTypes {
  private readonly types: ReadonlyMap<string, Type>
  private readonly home: string
  private readonly names: Names
  private readonly codecs: ReadonlyMap<string, string>
  /** The name and the text of each export, in the order in which they depend on each other. */
  private readonly exports = new Map<string, { readonly name: string; readonly text: string }>()
  /** What is being written: `types.ts` does not import itself. */
  private depth = 0

  constructor(types: ReadonlyArray<Type>, home: string, names: Names, codecs: ReadonlyMap<string, string>) {
    this.types = new Map(types.map((type) => [pair(type.schema, type.name), type]))
    this.home = home
    this.names = names
    this.codecs = codecs
  }

  /** The schema of a type that users have made. */
  reference(type: TypeName, isInside: boolean): string | undefined {
    const found = this.types.get(pair(type.schema, type.name))
    if (found === undefined) return undefined
    const name = this.export(found)
    const reference = this.depth > 0 ? name : `types.${name}`
    return isInside && this.isDocument(found) ? `Schema.toType(${reference})` : reference
  }

  /** Whether a type may be null although its column does not say so: a domain may forbid what its column allows. */
  forbidsNull(type: TypeName): boolean {
    const found = type.dimensions > 0 ? undefined : this.types.get(pair(type.schema, type.name))
    if (found?.kind !== "domain") return false
    return !found.nullable || found.base !== undefined && this.forbidsNull(found.base)
  }

  /** Whether it is written as the text of a document. */
  isDocument(type: Type | TypeName): boolean {
    const found = this.types.get(pair(type.schema, type.name))
    if ("dimensions" in type && type.dimensions > 0) return false
    if (found === undefined) return (type.name === "json" || type.name === "jsonb") && !this.codecs.has(type.name)
    return found.kind === "domain" && found.base !== undefined && this.isDocument(found.base)
  }

  /** The text of `types.ts`, if it has something in it. */
  get file(): string | undefined {
    if (this.exports.size === 0) return undefined
    const texts = Array.from(this.exports.values(), ({ text }) => text)
    const uses = texts.some((text) => /\bcolumns\./.test(text))
    return `import { Schema } from "effect"\n${uses ? "import * as columns from \"./columns.ts\"\n" : ""}\n${
      texts.join("\n")
    }`
  }

  private export(type: Type): string {
    const id = pair(type.schema, type.name)
    const known = this.exports.get(id)
    if (known !== undefined) return known.name
    const name = this.names.take(pascalCase(type.schema === this.home ? type.name : `${type.schema}_${type.name}`))
    this.depth++
    const body = this.body(type, name)
    this.depth--
    const text = `${jsdoc(type.comment, "")}export const ${name} = ${body}\nexport type ${name} = typeof ${name}.Type\n`
    this.exports.set(id, { name, text })
    return name
  }

  private body(type: Type, name: string): string {
    switch (type.kind) {
      case "enum":
        return `Schema.Literals([${type.labels.map(quoted).join(", ")}])`
      case "domain":
        return `${this.of(type.base!, false)}.pipe(Schema.brand(${quoted(name)}))`
      case "range":
        return `columns.range(${this.of(type.base!, true)})`
      case "multirange":
        return `Schema.Array(${this.of(type.base!, true)})`
      case "composite": {
        const fields = type.attributes.map((attribute) =>
          `  ${key(attribute.name)}: Schema.NullOr(${this.of(attribute.type, true)})`
        )
        return fields.length === 0 ? "Schema.Struct({})" : `Schema.Struct({\n${fields.join(",\n")}\n})`
      }
    }
  }

  private of(type: TypeName, isInside: boolean): string {
    return postgresType(type, this, this.codecs, { isInside, hasFullElements: false })
  }
}
