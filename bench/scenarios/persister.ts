/**
 * How fast the persister writes what a sale has decided, against the fastest way into the same table: one COPY of the
 * same rows. The persister also reads and acknowledges the stream, writes a history row for each, and a checkpoint.
 */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { buyMany } from '../../harness/engine/sales.ts';
import { startPersister } from '../contestants.ts';
import { takeTurns } from '../rounds.ts';
import { demand } from '../sanity.ts';
import type { Scenario } from '../scenario.ts';
import { openStage, type Stage } from '../testbed.ts';
import { durableRows, ENGINE_TABLES, emptyTables } from './durable.ts';

const RESERVATIONS = 200_000;
/** A batch of the front end at full load. */
const BATCH_SIZE = 128;
const POLL_MS = 5;
const DRAIN_MS_MAX = 120_000;

const PERSISTER = 'persister';
const COPY = 'COPY';

export const persister: Scenario = {
  name: 'persister',
  title: 'From the stream to rows',
  async run(options) {
    const stage = await openStage({ stopping: options.stopping });
    try {
      let copied: Buffer | undefined;
      const rounds = await takeTurns(options, [PERSISTER, COPY], async (name) => {
        if (name === PERSISTER || !copied) {
          const { rowsPerSecond, saleId } = await drain(stage);
          copied = await rowsOf(stage, saleId);
          await emptyTables(stage, ENGINE_TABLES);
          if (name === PERSISTER) return { rowsPerSecond };
        }
        const startedAt = performance.now();
        await copyIn(stage, copied);
        const seconds = (performance.now() - startedAt) / 1e3;
        const [found] = await stage.servers.sql<{ rows: number }[]>`
          SELECT count(*)::int AS rows FROM reservations`;
        demand(found!.rows === RESERVATIONS, `${found!.rows} rows were copied`);
        await emptyTables(stage, ENGINE_TABLES);
        return { rowsPerSecond: RESERVATIONS / seconds };
      });
      return {
        settings: { reservations: RESERVATIONS, batchSize: BATCH_SIZE },
        rounds,
        comparisons: [
          {
            what: 'rows a second, persister ÷ one COPY',
            metric: 'rowsPerSecond',
            of: PERSISTER,
            over: COPY,
            atLeast: 0.6,
          },
          {
            what: 'rows a second of one persister',
            metric: 'rowsPerSecond',
            of: PERSISTER,
            unit: 'rows a second',
          },
        ],
      };
    } finally {
      await stage.close();
    }
  },
};

/** Sells without a persister, then starts one; timed from the first rows that are seen, which leaves its start out. */
async function drain(stage: Stage) {
  const saleId = await stage.openSale({ stock: RESERVATIONS });
  await buyMany(stage.servers.shards, saleId, { count: RESERVATIONS, batchSize: BATCH_SIZE });
  const process = await startPersister(stage);
  let first: { rows: number; at: number } | undefined;
  const deadline = performance.now() + DRAIN_MS_MAX;
  for (;;) {
    const rows = await durableRows(stage, saleId);
    const at = performance.now();
    if (rows > 0) first ??= { rows, at };
    if (first && rows === RESERVATIONS) {
      await process.stop();
      demand(first.rows < RESERVATIONS / 2, 'the persister was done before anybody looked');
      const rowsPerSecond = (rows - first.rows) / ((at - first.at) / 1e3);
      return { saleId, rowsPerSecond };
    }
    if (at > deadline) throw new Error(`only ${rows} rows were written`);
    await sleep(POLL_MS, undefined, { signal: stage.stopping });
  }
}

async function rowsOf({ servers: { sql } }: Stage, saleId: string): Promise<Buffer> {
  const readable = await sql`
    COPY (SELECT * FROM reservations WHERE sale_id = ${sql.unsafe(`'${saleId}'`)}) TO STDOUT`.readable();
  const chunks: Buffer[] = [];
  for await (const chunk of readable) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function copyIn({ servers: { sql } }: Stage, rows: Buffer): Promise<void> {
  const writable = await sql`COPY reservations FROM STDIN`.writable();
  await pipeline(Readable.from(chunksOf(rows)), writable);
}

function* chunksOf(rows: Buffer): Generator<Buffer> {
  const BYTES = 64 * 1024;
  for (let from = 0; from < rows.length; from += BYTES) yield rows.subarray(from, from + BYTES);
}
