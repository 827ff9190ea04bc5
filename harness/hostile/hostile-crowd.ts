/** Sends hostile requests, each on its own connection, and counts the results of each kind. */
import { RawConnection } from '../network/raw-connection.ts';
import { type HostileRequest, type HostileTarget, hostileRequests } from './hostile-requests.ts';

/** How long to wait for a response: many of these requests never get one. */
const PATIENCE_MS = 500;
/** Requests generated at a time, so that a hundred thousand need not be in memory together. */
const GENERATED_AT_ONCE = 1_000;

/** Counts by kind, then by status; `closed` or `silent` without a response. */
export type HostileTally = Record<string, Record<string, number>>;

/** Rejects when the server accepts no more connections. `onProgress` gets the number of finished requests. */
export async function attack(
  port: number,
  target: HostileTarget,
  choices: { count: number; seed: number; connections: number },
  onProgress: (over: number) => void = () => undefined,
): Promise<HostileTally> {
  const tally: HostileTally = {};
  let over = 0;
  for (let sent = 0; sent < choices.count; sent += GENERATED_AT_ONCE) {
    const count = Math.min(GENERATED_AT_ONCE, choices.count - sent);
    const requests = hostileRequests(target, { count, seed: choices.seed + sent });
    const attackers = Array.from({ length: choices.connections }, async () => {
      for (let next = requests.pop(); next; next = requests.pop()) {
        await sendOne(port, next, tally);
        onProgress(++over);
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
 * The statuses that no request may cause, with their kinds. 505 comes from uWebSockets.js, which returns it for anything
 * that is not HTTP/1.1 before our code runs.
 */
export function faultsIn(tally: HostileTally): string[] {
  return Object.entries(tally).flatMap(([kind, counts]) =>
    Object.entries(counts)
      .filter(([status]) => Number(status) >= 500 && status !== '503' && status !== '505')
      .map(([status, count]) => `${kind}: ${count} × ${status}`),
  );
}
