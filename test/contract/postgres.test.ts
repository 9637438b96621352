import { contract } from "./contract.ts"
import { postgres } from "./postgresDialects.ts"

contract(postgres)
