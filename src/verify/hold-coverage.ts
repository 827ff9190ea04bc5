/** The deadlines of holds. Redis keeps them as ranges of positions, one for each batch; the sweep finds no others. */
import { saleKey } from '../lua/keys.ts';
import { inOneStep, type Verification } from './check.ts';
import type { RedisRecord } from './reservation-row.ts';

/** The ids of those holds among the records that are not in a range with their deadline. */
export async function uncoveredHolds(
  { servers, saleId }: Verification,
  records: readonly RedisRecord[],
): Promise<Set<string>> {
  const holds = records
    .map(({ reservation }) => reservation)
    .filter(({ status }) => status === 'reserved');
  if (holds.length === 0) return new Set();
  const deadlines = [...new Set(holds.map(({ expiresAt }) => expiresAt))];
  const transaction = servers.shards.of(saleId).client.multi();
  for (const deadline of deadlines) {
    transaction.zrangebyscore(saleKey(saleId, 'holds'), deadline, deadline);
  }
  const replies = (await inOneStep(transaction)) as string[][];
  const rangesAt = new Map(
    deadlines.map((deadline, index) => [deadline, replies[index]!.map(parseRange)]),
  );
  const uncovered = holds.filter(
    ({ expiresAt, position }) =>
      !rangesAt.get(expiresAt)!.some(([first, last]) => first <= position && position <= last),
  );
  return new Set(uncovered.map(({ reservationId }) => reservationId));
}

function parseRange(member: string): [first: number, last: number] {
  const [first, last] = member.split('-');
  return [Number(first), Number(last)];
}
