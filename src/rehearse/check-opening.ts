/** Checks that each hot path opens the sale at its start, and not before. */
import { setTimeout as sleep } from 'node:timers/promises';
import { buyUrl, type RehearsalContext, refusalBy } from './context.ts';
import { ms } from './findings.ts';
import { send } from './http.ts';

/** In addition to the time from the last refused request until the response. */
const LATE_MS_MAX = 50;
const RETRY_MS = 4;
/** After the start; later it is not open at all. */
const GIVE_UP_MS = 5_000;

/** Throws `server_unfit` if buyers cannot buy, with the reason. */
export async function checkOpening(context: RehearsalContext, startsAtMs: number): Promise<void> {
  const { settings, findings, sold } = context;
  const opened = await Promise.all(
    settings.hotPathUrls.map((url) => buyAtStart(context, url, startsAtMs)),
  );
  const late = opened.map(({ lateMs, tookMs }) => Math.max(0, lateMs - tookMs));
  const isEarly = opened.some(({ lateMs }) => lateMs < 0);
  findings.expect(
    'opening',
    !isEarly && Math.max(...late) <= LATE_MS_MAX,
    `first reservation ${opened.map(({ lateMs }) => ms(lateMs)).join(', ')} after startsAt (limit: ${ms(LATE_MS_MAX)} and two requests)`,
    "Hot paths sell too early or too late by Redis' clock. Are they overloaded? See their event loop delay in /metrics.",
  );
  for (const { reservationId } of opened) sold.add(reservationId);
}

/** One buyer tries again and again. */
async function buyAtStart(
  { settings, saleId, stopping }: RehearsalContext,
  url: string,
  startsAtMs: number,
): Promise<{ lateMs: number; tookMs: number; reservationId: string }> {
  const [token] = settings.tokens.take(1);
  // Without an earlier refusal nothing shows when the sale opened, so no reservation counts as late.
  let previousAt = Number.NEGATIVE_INFINITY;
  const giveUpAt = performance.now() + Math.max(0, startsAtMs - Date.now()) + GIVE_UP_MS;
  for (;;) {
    const sentAt = performance.now();
    const reply = await send(buyUrl(url, saleId), { method: 'POST', token, signal: stopping });
    const { status, body } = reply;
    if (status === 201) {
      const lateMs = Date.parse(body.reservedAt) - startsAtMs;
      const tookMs = performance.now() - previousAt;
      return { lateMs, tookMs, reservationId: body.reservationId };
    }
    if (body?.code !== 'sale_not_started' && status !== 503) throw refusalBy(url, reply);
    if (performance.now() > giveUpAt) throw refusalBy(url, reply);
    previousAt = sentAt;
    await sleep(RETRY_MS, undefined, { signal: stopping });
  }
}
