/** Sends hostile requests, each on a connection of its own, and counts what came of each kind. */

import { RawConnection } from '../network/raw-connection.ts';
import { type HostileRequest, type HostileTarget, hostileRequests } from './hostile-requests.ts';

/** Then nothing more is expected: much of this is never answered. */
const PATIENCE_MS = 500;
/** Drawn at once, so that a hundred thousand need not be in memory together. */
const DRAWN_AT_ONCE = 1_000;

/** By kind, then by status; `closed` and `silent` where there was none. */
export type HostileTally = Record<string, Record<string, number>>;

/** Rejects when the server no longer takes connections. `reach` hears how many are over. */
export async function attack(
  port: number,
  target: HostileTarget,
  choices: { count: number; seed: number; connections: number },
  reach: (over: number) => void = () => undefined,
): Promise<HostileTally> {
  const tally: HostileTally = {};
  let over = 0;
  for (let sent = 0; sent < choices.count; sent += DRAWN_AT_ONCE) {
    const count = Math.min(DRAWN_AT_ONCE, choices.count - sent);
    const requests = hostileRequests(target, { count, seed: choices.seed + sent });
    const attackers = Array.from({ length: choices.connections }, async () => {
      for (let next = requests.pop(); next; next = requests.pop()) {
        await sendOne(port, next, tally);
        reach(++over);
      }
    });
    await Promise.all(attackers);
  }
  return tally;
}

async function sendOne(
  port: number,
  { kind, bytes, leaves }: HostileRequest,
  tally: HostileTally,
): Promise<void> {
  const connection = await RawConnection.open(port);
  connection.send(bytes);
  if (!leaves) await connection.settle(1, PATIENCE_MS);
  const { statuses, isClosed } = connection;
  connection.destroy();
  const counts = tally[kind] ?? {};
  tally[kind] = counts;
  const results = statuses.length > 0 ? statuses : [isClosed ? 'closed' : 'silent'];
  for (const result of results) counts[result] = (counts[result] ?? 0) + 1;
}

/**
 * The statuses that no request may bring about, with their kinds. 505 is none of ours: uWebSockets.js says it, before
 * any code of ours, of whatever is not HTTP/1.1.
 */
export function faultsIn(tally: HostileTally): string[] {
  return Object.entries(tally).flatMap(([kind, counts]) =>
    Object.entries(counts)
      .filter(([status]) => Number(status) >= 500 && status !== '503' && status !== '505')
      .map(([status, count]) => `${kind}: ${count} × ${status}`),
  );
}
