/**
 * Compares the clocks: of Redis, as each hot path shows it; of PostgreSQL, of admin, and of this machine. A clock that was
 * read by a request is known up to half the time that the request took.
 */
import { type RehearsalContext, saleUrl } from './context.ts';
import { ms } from './findings.ts';
import { type Reply, send } from './http.ts';

const READINGS = 8;
/** Servers: a sale would end, and a hold be shown as ended, at another time than it does. */
const SERVERS_MS_MAX = 1_000;
/** Hot paths: buyers of one would be told of the start before those of another. */
const HOT_PATHS_MS_MAX = 50;
/** Buyers' tokens are checked by the hot path's own clock. */
const TOKEN_SECONDS = 30;

/** A clock less this machine's clock, and by how much that may be wrong. */
interface Offset {
  ms: number;
  errorMs: number;
}

/** `created`: the response to the creation of the sale. */
export async function checkClocks(context: RehearsalContext, created: Reply): Promise<void> {
  const { settings, findings, admin, saleId } = context;
  const hotPaths: Offset[] = [];
  for (const url of settings.hotPathUrls) hotPaths.push(await readHotPath(context, url));
  const redis = hotPaths[0]!;

  findings.expect(
    'clocks: hot paths',
    hotPaths.every((each) => distanceMs(each, redis) <= HOT_PATHS_MS_MAX),
    `${hotPaths.length === 1 ? '1 address shows' : `${hotPaths.length} addresses show`} Redis' clock, at most ${ms(HOT_PATHS_MS_MAX)} apart`,
    "Hot paths show different times, so buyers' countdowns end at different moments. Do all use the same Redis? Does a cache keep responses?",
  );
  const postgres = offsetOf(created, Date.parse(created.body.createdAt));
  const postgresMs = distanceMs(postgres, redis);
  findings.expect(
    'clocks: PostgreSQL, Redis',
    postgresMs <= SERVERS_MS_MAX,
    `${ms(postgresMs)} apart, at most ${ms(SERVERS_MS_MAX)}`,
    'Starts, ends and holds are decided by Redis and shown by PostgreSQL while Redis is unavailable. Check the time service (chrony, ntpd) of both.',
  );
  const { clock } = await admin.view(saleId);
  const adminMs = Math.abs(clock?.differenceMs ?? 0);
  findings.expect(
    'clocks: admin, Redis',
    clock !== null && adminMs <= SERVERS_MS_MAX,
    clock ? `${ms(adminMs)} apart, at most ${ms(SERVERS_MS_MAX)}` : 'unknown',
    'Check the time service of both machines; the log of admin has `redis clock differed`.',
  );
  const ownMs = Math.max(0, Math.abs(redis.ms) - redis.errorMs);
  if (ownMs <= SERVERS_MS_MAX) findings.ok('clocks: this machine', `${ms(ownMs)} from Redis`);
  else {
    findings.warn(
      'clocks: this machine',
      `${ms(redis.ms)} from Redis`,
      'Nothing is decided by this clock. But times that you type, such as startsAt, follow it.',
    );
  }
  await checkTokenClocks(context);
}

/** The best of some readings: the one whose request took least. */
async function readHotPath({ saleId }: RehearsalContext, url: string): Promise<Offset> {
  let best: Offset = { ms: 0, errorMs: Number.POSITIVE_INFINITY };
  for (let i = 0; i < READINGS; i++) {
    const reply = await send(saleUrl(url, saleId));
    const offset = offsetOf(reply, Date.parse(reply.body.serverTime));
    if (offset.errorMs < best.errorMs) best = offset;
  }
  return best;
}

function offsetOf({ sentAtMs, tookMs }: Reply, clockMs: number): Offset {
  // The clocks are read in whole milliseconds.
  return { ms: clockMs - (sentAtMs + tookMs / 2), errorMs: tookMs / 2 + 1 };
}

/** At least how far two clocks are apart. */
function distanceMs(a: Offset, b: Offset): number {
  return Math.max(0, Math.abs(a.ms - b.ms) - a.errorMs - b.errorMs);
}

/** Tokens that are valid from a little ago, or for a little longer. */
async function checkTokenClocks({ settings, findings, saleId }: RehearsalContext): Promise<void> {
  const { sign } = settings.tokens;
  if (!sign) return;
  const now = Math.floor(Date.now() / 1_000);
  const refused: string[] = [];
  for (const url of settings.hotPathUrls) {
    for (const claims of [
      { nbf: now - TOKEN_SECONDS, exp: now + 3_600 },
      { exp: now + TOKEN_SECONDS },
    ]) {
      const { status } = await send(`${saleUrl(url, saleId)}/me`, { token: sign(claims) });
      if (status === 401) refused.push(`${url} is ${'nbf' in claims ? 'behind' : 'ahead'}`);
    }
  }
  findings.expect(
    'clocks: tokens',
    refused.length === 0,
    refused.length === 0 ? `tokens of ${TOKEN_SECONDS} s are accepted` : refused.join(', '),
    `Hot paths check tokens by their own clock, and it is wrong by more than ${TOKEN_SECONDS} s. Check the time service of their machines.`,
  );
}
