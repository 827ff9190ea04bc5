/**
 * Checks purchases one at a time: a repeated request gets the same reservation, how long the disk of Redis takes, and how
 * soon PostgreSQL has the rows.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { buyUrl, type RehearsalContext, SKU, saleUrl } from './context.ts';
import { ms } from './findings.ts';
import { type Reply, send } from './http.ts';
import { quantile } from './quantile.ts';

/** Of this check, beside one that is repeated. */
export const SINGLE_PURCHASES = 30;

/** A write of Redis to its disk may take this share of the time that a buyer may wait: under load some share one. */
const DISK_SHARE_MAX = 0.1;
/** Until all rows are in PostgreSQL, when nothing else happens. */
const DURABLE_MS_MAX = 5_000;
const LAG_POLL_MS = 50;

export async function checkPurchases(context: RehearsalContext): Promise<void> {
  const { settings, findings } = context;
  const [url] = settings.hotPathUrls;
  const reads: number[] = [];
  const purchases: Reply[] = [];
  for (const token of settings.tokens.take(SINGLE_PURCHASES)) {
    context.stopping.throwIfAborted();
    reads.push((await send(saleUrl(url!, context.saleId))).tookMs);
    const bought = await buyWith(context, token, 'rehearsal-1');
    if (bought.status === 201) purchases.push(bought);
  }
  if (purchases.length < SINGLE_PURCHASES) {
    findings.fail(
      'purchases',
      `${purchases.length} of ${SINGLE_PURCHASES} single purchases succeeded`,
      'Each must succeed: there are enough units, and nobody else buys. See the log of the hot path.',
    );
  }
  const read = quantile(reads, 0.5);
  const took = purchases.map(({ tookMs }) => tookMs);
  const [p50, p99] = [0.5, 0.99].map((share) => Math.max(0, quantile(took, share) - read));
  const most = settings.p99Ms * DISK_SHARE_MAX;
  findings.expect(
    'disk of Redis',
    purchases.length > 0 && p50! <= most && p99! <= settings.p99Ms,
    `a single purchase takes ${ms(p50!)} longer than a read (p99 ${ms(p99!)}), at most ${ms(most)} (p99 ${ms(settings.p99Ms)})`,
    'Every batch of buyers waits for the disk of Redis. Use a faster disk: local or with provisioned IOPS, and shared with nobody.',
  );
  await checkRepetition(context);
  for (const { body } of purchases) context.sold.add(body.reservationId);
}

async function checkRepetition(context: RehearsalContext): Promise<void> {
  const [token] = context.settings.tokens.take(1);
  const first = await buyWith(context, token!, 'rehearsal-1');
  const again = await buyWith(context, token!, 'rehearsal-1');
  const other = await buyWith(context, token!, 'rehearsal-1', 2);
  if (first.status === 201) context.sold.add(first.body.reservationId);
  const isSame = first.body.reservationId === again.body.reservationId;
  const isReplayed = again.status === 200 && again.headers.get('idempotent-replayed') === 'true';
  context.findings.expect(
    'retries',
    first.status === 201 && isReplayed && isSame && other.status === 422,
    `a repeated request got ${isSame ? 'the same' : 'another'} reservation (${again.status}), another basket with its key ${other.status}`,
    'It must be the same reservation with 200 and Idempotent-Replayed, then 422. Does a proxy drop Idempotency-Key or response headers?',
  );
}

function buyWith(
  { settings, saleId }: RehearsalContext,
  token: string,
  key: string,
  quantity = 1,
): Promise<Reply> {
  return send(buyUrl(settings.hotPathUrls[0]!, saleId), {
    method: 'POST',
    token,
    headers: { 'idempotency-key': key },
    body: { items: [{ sku: SKU, quantity }] },
  });
}

/** Waits until PostgreSQL has every event. False: it has not in time, so nothing that follows can be verified. */
export async function checkRows(context: RehearsalContext, after: string): Promise<boolean> {
  const { admin, findings, saleId, stopping } = context;
  const startedAt = performance.now();
  let lag: number | null = null;
  let tookMs = 0;
  do {
    ({ lag } = (await admin.view(saleId)).persister);
    tookMs = performance.now() - startedAt;
    if (lag === 0) break;
    await sleep(LAG_POLL_MS, undefined, { signal: stopping });
  } while (tookMs < DURABLE_MS_MAX);
  findings.expect(
    `rows ${after}`,
    lag === 0,
    lag === 0
      ? `PostgreSQL had all rows after ${ms(tookMs)}, at most ${ms(DURABLE_MS_MAX)}`
      : `PostgreSQL lacks ${lag ?? 'an unknown number of'} events after ${ms(tookMs)}`,
    'No persister writes, or it is too slow. Is one running and ready (/readyz)? See its log, and the disk of PostgreSQL.',
  );
  return lag === 0;
}
