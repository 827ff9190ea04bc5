/** The thread of a crowd, see crowd.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { quantile } from '../../harness/crowds/open-loop-load.ts';
import { tokenOf } from '../../harness/engine/hot-path.ts';
import { KeepAliveClient, type RawResponse } from '../../harness/network/keep-alive-client.ts';
import { type CrowdChoices, type CrowdSecond, rateAt } from './crowd.ts';

const TICK_MS = 5;
const { port, saleId, prefix, shape, connections, giveUpMs } = workerData as CrowdChoices;
const path = `/v1/sales/${saleId}/buy`;

// The one that was idle for longest comes first, so that none is idle long enough to be closed.
const free = Array.from({ length: connections }, () => new KeepAliveClient(port));
/** When each came. */
let waiting: number[] = [];
let buyers = 0;
let latencies: number[] = [];
let current = newSecond();

const startMs = performance.now();
const seconds = shape.at(-1)![0];
let due = 0;
let dueUntilMs = 0;
const reporting = setInterval(report, 1_000);
while (dueUntilMs < seconds * 1_000 || waiting.length > 0 || free.length < connections) {
  const nowMs = performance.now() - startMs;
  due += (rateAt(shape, nowMs / 1_000) * (nowMs - dueUntilMs)) / 1_000;
  for (; due >= 1; due--) {
    waiting.push(performance.now());
    current.came += 1;
  }
  dueUntilMs = nowMs;
  sendWaiting();
  await sleep(TICK_MS);
}
clearInterval(reporting);
report();
for (const client of free) client.close();

function sendWaiting(): void {
  const oldest = performance.now() - giveUpMs;
  let next = 0;
  for (; next < waiting.length; next++) {
    const cameAt = waiting[next]!;
    if (cameAt < oldest) current.gaveUp += 1;
    else if (free.length > 0) void buy(free.shift()!, cameAt);
    else break;
  }
  if (next > 0) waiting = waiting.slice(next);
}

async function buy(client: KeepAliveClient, cameAt: number): Promise<void> {
  const headers = { Authorization: `Bearer ${tokenOf(`${prefix}-${++buyers}`)}` };
  try {
    count(await client.request({ method: 'POST', path, headers }));
  } catch (error) {
    fail((error as Error).message);
  }
  latencies.push(performance.now() - cameAt);
  free.push(client);
}

function count({ status, headers, body }: RawResponse): void {
  if (status === 201) {
    current.reserved += 1;
    current.reservations.push(JSON.parse(body).reservationId);
  } else if (status === 503 && headers['retry-after'] !== undefined) current.refused += 1;
  else fail(`${status} ${/"code":"(\w+)"/.exec(body)?.[1] ?? 'without a code'}`);
}

function fail(what: string): void {
  current.failed[what] = (current.failed[what] ?? 0) + 1;
}

function report(): void {
  current.p50Ms = Math.round(quantile(latencies, 0.5));
  current.p99Ms = Math.round(quantile(latencies, 0.99));
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  parentPort!.postMessage(current);
  latencies = [];
  current = newSecond();
}

function newSecond(): CrowdSecond {
  return {
    came: 0,
    reserved: 0,
    refused: 0,
    gaveUp: 0,
    failed: {},
    p50Ms: 0,
    p99Ms: 0,
    reservations: [],
  };
}
