/** Everything in PostgreSQL: one transaction locks the stock row and writes the order, before the response. */
import postgres from 'postgres';
import { orderTable, POOL_SIZE, rowOf, runShop } from './shop.ts';

await runShop(async () => {
  const sql = postgres(process.env.DATABASE_URL!, { max: POOL_SIZE, onnotice: () => undefined });
  await orderTable(sql, 'sql_orders');
  await sql`CREATE TABLE IF NOT EXISTS sql_stock (
    sale_id text PRIMARY KEY, remaining bigint NOT NULL, sold bigint NOT NULL DEFAULT 0)`;
  return {
    decide: (order) =>
      sql.begin(async (tx) => {
        // Independent queries go out together, because the row stays locked until the last reply.
        const [[stock], [seen]] = await Promise.all([
          tx<{ remaining: string; sold: string }[]>`
            SELECT remaining, sold FROM sql_stock WHERE sale_id = ${order.saleId} FOR UPDATE`,
          tx<{ position: string; reserved_at: Date }[]>`
            SELECT position, reserved_at FROM sql_orders
            WHERE buyer_id = ${order.buyerId} AND sale_id = ${order.saleId}
              AND idempotency_key = ${order.key}`,
        ]);
        if (seen)
          return { position: Number(seen.position), reservedAt: seen.reserved_at.getTime() };
        if (!stock || Number(stock.remaining) < order.quantity) return 'sold_out';
        const decided = { position: Number(stock.sold) + 1, reservedAt: Date.now() };
        await Promise.all([
          tx`
            UPDATE sql_stock SET remaining = remaining - ${order.quantity}, sold = sold + 1
            WHERE sale_id = ${order.saleId}`,
          tx`INSERT INTO sql_orders ${tx(rowOf(order, decided))}`,
        ]);
        return decided;
      }),
    close: () => sql.end({ timeout: 2 }),
  };
});
