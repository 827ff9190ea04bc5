/**
 * Buyers and watchers who wait at each hot path for the start of a sale, and what they see of it. This process and Redis
 * must share a machine: its clock is then Redis' clock, so the times of both can be compared.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'undici';
import { tokenOf } from '../engine/hot-path.ts';
import { KeepAliveClient } from '../network/keep-alive-client.ts';

/** What one hot path did. Times are milliseconds after the start of the sale, negative before it. */
export interface Opening {
  /** When Redis decided the first reservation. */
  firstReservedMs: number;
  /** When a buyer received it. */
  firstReceivedMs: number;
  /** When the last request was sent that got `sale_not_started`. */
  lastRefusedMs: number;
  /** When the first watcher, and the last one, received a message whose `serverTime` is at or after the start. */
  firstWatcherMs: number;
  lastWatcherMs: number;
  /** The largest difference between the `serverTime` of a response and every moment at which it was in progress. */
  serverTimeErrorMs: number;
  requests: number;
  /** The longest time between two requests of a buyer, or until a response. If it is long, the machine was busy. */
  longestPauseMs: number;
}

export interface OpeningChoices {
  saleId: string;
  startsAt: number;
  /** Connections for each hot path; each sends its next request `pauseMs` after a response. */
  buyers: number;
  pauseMs: number;
  watchers: number;
  /** Until this time after the start. */
  untilMs: number;
}

const CLOCK_READ_MS = 20;
/** What a machine that is busy with other work may need for the first purchase. */
const FIRST_MS_MAX = 10_000;

/** Resolves when all is over, and each hot path has sold something. Fails if a response is neither 201 nor `sale_not_started` before the stock is sold. */
export async function watchOpening(
  hotPaths: readonly { port: number; url: string }[],
  choices: OpeningChoices,
): Promise<Opening[]> {
  return Promise.all(hotPaths.map((hotPath, index) => watchOne(hotPath, `${index}`, choices)));
}

async function watchOne(
  { port, url }: { port: number; url: string },
  name: string,
  choices: OpeningChoices,
): Promise<Opening> {
  const { saleId, startsAt, buyers, watchers, untilMs } = choices;
  const seen: Opening = {
    firstReservedMs: Number.POSITIVE_INFINITY,
    firstReceivedMs: Number.POSITIVE_INFINITY,
    lastRefusedMs: Number.NEGATIVE_INFINITY,
    firstWatcherMs: Number.POSITIVE_INFINITY,
    lastWatcherMs: Number.NEGATIVE_INFINITY,
    serverTimeErrorMs: 0,
    requests: 0,
    longestPauseMs: 0,
  };
  const sockets = await Promise.all(
    Array.from({ length: watchers }, () => watch(`${url}/v1/sales/${saleId}/live`, startsAt, seen)),
  );
  const endsAt = startsAt + untilMs;
  await Promise.all([
    readClock(port, saleId, endsAt, seen),
    ...Array.from({ length: buyers }, (_, i) => buy(port, `${name}-${i}`, choices, seen)),
  ]);
  for (const socket of sockets) socket.close();
  assert.ok(seen.firstReservedMs < Number.POSITIVE_INFINITY, `${url} sold nothing`);
  return seen;
}

/** Each request is one of another buyer, so that a limit ends nothing. */
async function buy(
  port: number,
  name: string,
  { saleId, startsAt, pauseMs, untilMs }: OpeningChoices,
  seen: Opening,
): Promise<void> {
  const client = new KeepAliveClient(port);
  const path = `/v1/sales/${saleId}/buy`;
  const isOver = () => {
    const sinceMs = Date.now() - startsAt;
    const isWaiting = seen.firstReservedMs === Number.POSITIVE_INFINITY;
    return sinceMs > (isWaiting ? FIRST_MS_MAX : untilMs);
  };
  let lastSentMs = 0;
  for (let i = 0; !isOver(); i++) {
    const headers = { Authorization: `Bearer ${tokenOf(`${name}-${i}`)}` };
    const sentMs = Date.now() - startsAt;
    if (i > 0) seen.longestPauseMs = Math.max(seen.longestPauseMs, sentMs - lastSentMs);
    lastSentMs = sentMs;
    const response = await client.request({ method: 'POST', path, headers });
    // The last request has no next one.
    seen.longestPauseMs = Math.max(seen.longestPauseMs, Date.now() - startsAt - sentMs);
    seen.requests++;
    const body = JSON.parse(response.body);
    if (response.status === 201) {
      const reservedMs = Date.parse(body.reservedAt) - startsAt;
      seen.firstReservedMs = Math.min(seen.firstReservedMs, reservedMs);
      seen.firstReceivedMs = Math.min(seen.firstReceivedMs, Date.now() - startsAt);
    } else {
      assert.equal(body.code, 'sale_not_started');
      seen.lastRefusedMs = Math.max(seen.lastRefusedMs, sentMs);
    }
    await sleep(pauseMs);
  }
  client.close();
}

async function readClock(
  port: number,
  saleId: string,
  endsAt: number,
  seen: Opening,
): Promise<void> {
  const client = new KeepAliveClient(port);
  while (Date.now() < endsAt) {
    const sentAt = Date.now();
    const { body } = await client.request({ path: `/v1/sales/${saleId}` });
    const serverTime = Date.parse(JSON.parse(body).serverTime);
    const errorMs = Math.max(0, sentAt - serverTime, serverTime - Date.now());
    seen.serverTimeErrorMs = Math.max(seen.serverTimeErrorMs, errorMs);
    await sleep(CLOCK_READ_MS);
  }
  client.close();
}

async function watch(url: string, startsAt: number, seen: Opening): Promise<WebSocket> {
  const socket = new WebSocket(url.replace('http', 'ws'));
  let isTold = false;
  socket.addEventListener('message', ({ data }) => {
    const message = JSON.parse(String(data));
    if (isTold || Date.parse(message.serverTime) < startsAt) return;
    isTold = true;
    const ms = Date.now() - startsAt;
    seen.firstWatcherMs = Math.min(seen.firstWatcherMs, ms);
    seen.lastWatcherMs = Math.max(seen.lastWatcherMs, ms);
  });
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', ({ error }) => reject(error));
  });
  return socket;
}
