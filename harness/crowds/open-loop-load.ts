/**
 * Load by the clock, not by completion: each request is sent when it is due, however many have not been answered. Times
 * count from when it was due, so a sender that is late itself makes nothing look better.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConnectionClosed,
  KeepAliveClient,
  type RawRequest,
  type RawResponse,
} from '../network/keep-alive-client.ts';

const TICK_MS = 5;

export interface Timed {
  response: RawResponse;
  latencyMs: number;
}

/** Resolves when all have been answered. Whose connection was closed before a byte had come asks again on another. */
export async function sendAtRate(
  port: number,
  choices: { perSecond: number; durationMs: number; request: (index: number) => RawRequest },
): Promise<Timed[]> {
  const { perSecond, durationMs, request } = choices;
  const free: KeepAliveClient[] = [];
  const all: KeepAliveClient[] = [];
  const press = async (index: number, dueAt: number): Promise<Timed> => {
    let client = free.pop();
    if (!client) {
      client = new KeepAliveClient(port);
      all.push(client);
    }
    const sent = request(index);
    const response = await client.request(sent).catch((error: unknown) => {
      if (error instanceof ConnectionClosed && error.bytesReceived === 0)
        return client.request(sent);
      throw error;
    });
    free.push(client);
    return { response, latencyMs: performance.now() - dueAt };
  };
  const pressed: Promise<Timed>[] = [];
  const startedAt = performance.now();
  const total = Math.round((perSecond * durationMs) / 1_000);
  while (pressed.length < total) {
    const due = Math.min(total, ((performance.now() - startedAt) * perSecond) / 1_000);
    while (pressed.length < due) {
      pressed.push(press(pressed.length, startedAt + (pressed.length * 1_000) / perSecond));
    }
    await sleep(TICK_MS);
  }
  try {
    return await Promise.all(pressed);
  } finally {
    for (const client of all) client.close();
  }
}

/** The value below which this share of them lies; of none it is 0. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}
