/**
 * Geometries, in the form of GeoJSON. The MariaDB connector makes that form itself; over `mysql2` the bytes come as the
 * server stores them: four bytes of a reference system, and then the well-known binary form (WKB).
 */

/** Reads one geometry after another from WKB. */
class WkbReader {
  private readonly view: DataView
  private at = 4
  private littleEndian = true

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  geometry(): object {
    const type = this.begin()
    if (type === 7) return { type: "GeometryCollection", geometries: this.list(() => this.geometry()) }
    const name = names[type]
    if (name === undefined) throw new Error(`an unknown geometry: ${type}`)
    return { type: name, coordinates: this.coordinates(type) }
  }

  private begin(): number {
    this.littleEndian = this.view.getUint8(this.at++) === 1
    return this.count()
  }

  private coordinates(type: number): ReadonlyArray<unknown> {
    switch (type) {
      case 1:
        return this.point()
      case 2:
        return this.list(() => this.point())
      case 3:
        return this.list(() => this.list(() => this.point()))
      default:
        // The parts of a MULTI… are geometries with a head of their own.
        return this.list(() => this.coordinates(this.begin()))
    }
  }

  private point(): ReadonlyArray<number> {
    const x = this.view.getFloat64(this.at, this.littleEndian)
    const y = this.view.getFloat64(this.at + 8, this.littleEndian)
    this.at += 16
    return [x, y]
  }

  private list<A>(read: () => A): Array<A> {
    const count = this.count()
    const items: Array<A> = []
    for (let index = 0; index < count; index++) items.push(read())
    return items
  }

  private count(): number {
    const count = this.view.getUint32(this.at, this.littleEndian)
    this.at += 4
    return count
  }
}

const names: Readonly<Record<number, string>> = {
  1: "Point",
  2: "LineString",
  3: "Polygon",
  4: "MultiPoint",
  5: "MultiLineString",
  6: "MultiPolygon"
}

/** A geometry as an object of GeoJSON. Without its reference system, which GeoJSON does not have. */
export const toGeometry = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return value.length === 0 ? null : new WkbReader(value).geometry()
  // The connector has an object that is only a type where there is no geometry.
  return typeof value === "object" && value !== null && ("coordinates" in value || "geometries" in value) ? value : null
}
