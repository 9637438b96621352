import { contract } from "./contract.ts"
import { postgres } from "./dialects/postgresDialects.ts"

contract(postgres)
