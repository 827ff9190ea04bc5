/**
 * Open-loop load: each request is sent when it is due, however many responses are outstanding. Latency counts from the
 * due time, so a sender that is late itself does not make results look better.
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

/** Resolves when all have a response. A request is retried once if its connection closed before the first byte. */
export async function sendAtRate(
  port: number,
  choices: { perSecond: number; durationMs: number; request: (index: number) => RawRequest },
): Promise<Timed[]> {
  const { perSecond, durationMs, request } = choices;
  const free: KeepAliveClient[] = [];
  const all: KeepAliveClient[] = [];
  const send = async (index: number, dueAt: number): Promise<Timed> => {
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
  const pending: Promise<Timed>[] = [];
  const startedAt = performance.now();
  const total = Math.round((perSecond * durationMs) / 1_000);
  while (pending.length < total) {
    const due = Math.min(total, ((performance.now() - startedAt) * perSecond) / 1_000);
    while (pending.length < due) {
      pending.push(send(pending.length, startedAt + (pending.length * 1_000) / perSecond));
    }
    await sleep(TICK_MS);
  }
  try {
    return await Promise.all(pending);
  } finally {
    for (const client of all) client.close();
  }
}

/** The value that this share of the values does not exceed; 0 without values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}
