/**
 * How fast the persister writes the decisions of a sale, compared with the fastest way into the same table: one COPY
 * of the same rows. The persister also reads and acknowledges the stream, and writes a checkpoint.
 */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { buyMany } from '../../harness/sales/purchases.ts';
import { startPersister } from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed, type Testbed } from '../measure/testbed.ts';
import { durableRows, ENGINE_TABLES, emptyTables } from './durable.ts';

const RESERVATIONS = 200_000;
/** A batch of the hot path at full load. */
const BATCH_SIZE = 128;
const POLL_MS = 5;
const DRAIN_MS_MAX = 120_000;

const PERSISTER = 'persister';
const COPY = 'COPY';

export const persister: Scenario = {
  name: 'persister',
  title: 'Persister: from the stream to rows',
  async run(options) {
    const testbed = await openTestbed({ stopping: options.stopping });
    try {
      let copied: Buffer | undefined;
      const rounds = await runRounds(options, [PERSISTER, COPY], async (name) => {
        if (name === PERSISTER || !copied) {
          const { rowsPerSecond, saleId } = await drain(testbed);
          copied = await rowsOf(testbed, saleId);
          await emptyTables(testbed, ENGINE_TABLES);
          if (name === PERSISTER) return { rowsPerSecond };
        }
        const startedAt = performance.now();
        await copyIn(testbed, copied);
        const seconds = (performance.now() - startedAt) / 1e3;
        const [found] = await testbed.servers.sql<{ rows: number }[]>`
          SELECT count(*)::int AS rows FROM reservations`;
        expect(found!.rows === RESERVATIONS, `${found!.rows} rows were copied`);
        await emptyTables(testbed, ENGINE_TABLES);
        return { rowsPerSecond: RESERVATIONS / seconds };
      });
      return {
        settings: { reservations: RESERVATIONS, batchSize: BATCH_SIZE },
        rounds,
        comparisons: [
          {
            what: 'rows per second, persister ÷ one COPY',
            metric: 'rowsPerSecond',
            of: PERSISTER,
            over: COPY,
            atLeast: 0.6,
          },
          {
            what: 'rows per second, one persister',
            metric: 'rowsPerSecond',
            of: PERSISTER,
            unit: 'rows/s',
          },
        ],
      };
    } finally {
      await testbed.close();
    }
  },
};

/** Sells without a persister, then starts one. The time counts from the first visible rows, without its start-up. */
async function drain(testbed: Testbed) {
  const saleId = await testbed.openSale({ stock: RESERVATIONS });
  await buyMany(testbed.servers.shards, saleId, { count: RESERVATIONS, batchSize: BATCH_SIZE });
  const process = await startPersister(testbed);
  let first: { rows: number; at: number } | undefined;
  const deadline = performance.now() + DRAIN_MS_MAX;
  for (;;) {
    const rows = await durableRows(testbed, saleId);
    const at = performance.now();
    if (rows > 0) first ??= { rows, at };
    if (first && rows === RESERVATIONS) {
      await process.stop();
      expect(first.rows < RESERVATIONS / 2, 'the persister was done before the first poll');
      const rowsPerSecond = (rows - first.rows) / ((at - first.at) / 1e3);
      return { saleId, rowsPerSecond };
    }
    if (at > deadline) throw new Error(`only ${rows} rows were written in time`);
    await sleep(POLL_MS, undefined, { signal: testbed.stopping });
  }
}

async function rowsOf({ servers: { sql } }: Testbed, saleId: string): Promise<Buffer> {
  const readable = await sql`
    COPY (SELECT * FROM reservations WHERE sale_id = ${sql.unsafe(`'${saleId}'`)}) TO STDOUT`.readable();
  const chunks: Buffer[] = [];
  for await (const chunk of readable) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function copyIn({ servers: { sql } }: Testbed, rows: Buffer): Promise<void> {
  const writable = await sql`COPY reservations FROM STDIN`.writable();
  await pipeline(Readable.from(chunksOf(rows)), writable);
}

function* chunksOf(rows: Buffer): Generator<Buffer> {
  const BYTES = 64 * 1024;
  for (let from = 0; from < rows.length; from += BYTES) yield rows.subarray(from, from + BYTES);
}
