/** Prisma over `pg`: raw queries where there is no table, its own calls where there is one. */
import { PrismaPg } from "@prisma/adapter-pg"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { accountOf } from "../sql.ts"
import { PrismaClient } from "./generated/client.ts"

export const open = async ({ connections, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const adapter = new PrismaPg({ connectionString: servers.postgres!.url, max: connections })
  const prisma = new PrismaClient({ adapter })
  return {
    style: promises,
    close: () => prisma.$disconnect(),
    echo: async (n) => {
      const [row] = await prisma.$queryRaw<Array<{ n: number }>>`select ${n}::int as n`
      return row!.n
    },
    byKey: async (id) => (await prisma.item.findUnique({ where: { id }, select: { label: true } }))!.label,
    sleep: (millis) => prisma.$executeRaw`select pg_sleep(${millis}::float8 / 1000)`,
    transaction: (key) =>
      prisma.$transaction(async (transaction) => {
        const row = await transaction.item.findUniqueOrThrow({ where: { id: key }, select: { amount: true } })
        const id = accountOf(key)
        await transaction.account.update({ where: { id }, data: { cents: { increment: 1 } }, select: { id: true } })
        await transaction.entry.create({ data: { account: id, cents: 1 }, select: { id: true } })
        return row.amount
      }, { maxWait: 60_000, timeout: 60_000 })
  }
}
