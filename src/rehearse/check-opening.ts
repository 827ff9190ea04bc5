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

interface Opened {
  /** From `startsAt` until the first reservation, by Redis' clock; negative: too early. */
  lateMs: number;
  /** From the sending of the last refused request until the response. Undefined: the first request was not refused. */
  tookMs: number | undefined;
  reservationId: string;
}

/** Throws `server_unfit` if buyers cannot buy, with the reason. */
export async function checkOpening(context: RehearsalContext, startsAtMs: number): Promise<void> {
  const { settings, findings, sold } = context;
  const opened = await Promise.all(
    settings.hotPathUrls.map((url) => buyAtStart(context, url, startsAtMs)),
  );
  for (const { reservationId } of opened) sold.add(reservationId);
  const found = `first reservation ${opened.map(({ lateMs }) => ms(lateMs)).join(', ')} after startsAt`;
  const isWrong = opened.some(
    ({ lateMs, tookMs = Number.POSITIVE_INFINITY }) => lateMs < 0 || lateMs - tookMs > LATE_MS_MAX,
  );
  if (!isWrong && opened.some(({ tookMs }) => tookMs === undefined)) {
    findings.warn(
      'opening',
      found,
      'The first request came after the start, so it was not seen when the sale opened. Is this machine overloaded?',
    );
    return;
  }
  findings.expect(
    'opening',
    !isWrong,
    `${found} (limit: ${ms(LATE_MS_MAX)} and two requests)`,
    "Hot paths sell too early or too late by Redis' clock. Are they overloaded? See their event loop delay in /metrics.",
  );
}

/** One buyer tries again and again. */
async function buyAtStart(
  { settings, saleId, stopping }: RehearsalContext,
  url: string,
  startsAtMs: number,
): Promise<Opened> {
  const [token] = settings.tokens.take(1);
  let refusedAt: number | undefined;
  const giveUpAt = performance.now() + Math.max(0, startsAtMs - Date.now()) + GIVE_UP_MS;
  for (;;) {
    const sentAt = performance.now();
    const reply = await send(buyUrl(url, saleId), { method: 'POST', token, signal: stopping });
    const { status, body } = reply;
    if (status === 201) {
      const lateMs = Date.parse(body.reservedAt) - startsAtMs;
      const tookMs = refusedAt === undefined ? undefined : performance.now() - refusedAt;
      return { lateMs, tookMs, reservationId: body.reservationId };
    }
    if (body?.code !== 'sale_not_started' && status !== 503) throw refusalBy(url, reply);
    if (performance.now() > giveUpAt) throw refusalBy(url, reply);
    refusedAt = sentAt;
    await sleep(RETRY_MS, undefined, { signal: stopping });
  }
}
