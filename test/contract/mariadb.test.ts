import { contract } from "./contract.ts"
import { mariadb } from "./dialects.ts"

contract(mariadb)
