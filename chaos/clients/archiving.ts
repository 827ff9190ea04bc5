/** The end of a sale: the operator ends and archives it. Then buyers come too late, and merchants still change reservations. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../harness/random.ts';
import type { Client } from './client.ts';
import { type Exchange, nowMs, reservationsIn } from './history.ts';

const LATE_BUYERS = 12;
const LATE_CHANGES = 60;
const ASK_AGAIN_MS = 500;

export async function endAndArchive(client: Client, random: Random): Promise<void> {
  await client.sendUntilSettled({ kind: 'end' }, random);
  // A fault can make the sale recover, and the operator tries again.
  await client.sendUntil({ kind: 'archive' }, random, isDone);
}

/** Buyers ask until they get 410: Redis may have lost what it has of an archived sale. */
export async function comeLate(client: Client, random: Random, sku: string): Promise<void> {
  const ids = new Set(
    client.history.exchanges.flatMap(reservationsIn).map(({ reservationId }) => reservationId),
  );
  const changed = [...ids].filter(() => random.chance(LATE_CHANGES / ids.size));
  await Promise.all([
    ...changed.map((reservationId) => changeLate(client, random.of(reservationId), reservationId)),
    ...Array.from({ length: LATE_BUYERS }, async (_, index) => {
      const buyerId = `buyer-${index + 1}`;
      const own = random.of(buyerId);
      await client.sendUntil({ kind: 'me', buyerId }, own, isEnded);
      const items = [{ sku, quantity: 1 }];
      await client.sendUntilSettled({ kind: 'buy', buyerId, key: 'too-late', items }, own);
    }),
  ]);
}

/**
 * Redis may lose the marker after the last late buyer has asked, and gets another one only when somebody asks. A hot path
 * responds from memory for some seconds, so a buyer asks again and again.
 */
export async function askUntil(
  client: Client,
  random: Random,
  isMarked: () => Promise<boolean>,
): Promise<void> {
  while (nowMs() < client.patienceEndsMs && !(await isMarked())) {
    await client.sendUntil({ kind: 'me', buyerId: 'buyer-1' }, random, isEnded);
    await sleep(ASK_AGAIN_MS);
  }
}

async function changeLate(client: Client, random: Random, reservationId: string): Promise<void> {
  const confirm = { kind: 'confirm', reservationId, paymentRef: 'after-the-end' } as const;
  const cancel = { kind: 'cancel', reservationId } as const;
  const request = random.pick([
    confirm,
    { ...confirm, reclaim: true } as const,
    cancel,
    { ...cancel, restock: false } as const,
  ]);
  await client.sendUntilSettled(request, random);
  if (random.chance(0.3)) await client.sendUntilSettled(request, random);
}

function isDone({ response }: Exchange): boolean {
  return response?.status === 200;
}

function isEnded({ response }: Exchange): boolean {
  return response?.code === 'sale_ended';
}
