/** Checks what must be set up right: readiness, durability, tokens, roles, caches, and origins of pages. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Fault } from '../domain/fault.ts';
import { rehearsalId } from '../domain/rehearsal.ts';
import { BEFORE_HOT_PATHS, buyUrl, type RehearsalContext, refusalBy, saleUrl } from './context.ts';
import { problemIn, send } from './http.ts';

/** Longer than a view may be old. */
const CACHE_MS = 400;

/** Throws `server_unfit` if a hot path does not respond at all, or not to the buyers of this rehearsal. */
export async function checkSettings(context: RehearsalContext): Promise<void> {
  for (const url of context.settings.hotPathUrls) {
    await checkReadiness(context, url);
    await checkDurability(context, url);
    await checkTokens(context, url);
    await checkCaches(context, url);
    await checkOrigin(context, url);
  }
  await checkRoles(context);
}

async function checkReadiness({ findings }: RehearsalContext, url: string): Promise<void> {
  const { status, body } = await send(`${url}/readyz`);
  if (status === 404) {
    const advice =
      'Look at /readyz of each hot path: it says whether Redis meets the requirements.';
    findings.warn('settings: Redis', `/readyz is not visible at ${url}`, advice);
    return;
  }
  findings.expect(
    'settings: Redis',
    status === 200,
    status === 200
      ? `${url} is ready: Redis meets the requirements of its profile`
      : `${url} is not ready: ${[...(body.missing ?? []), ...(body.reasons ?? [])].join('; ')}`,
    BEFORE_HOT_PATHS,
  );
}

async function checkDurability({ findings }: RehearsalContext, url: string): Promise<void> {
  const { body } = await send(`${url}/metrics`);
  const profile = /^flash_sale_durability_info\{.*durability="(\w+)"/m.exec(String(body))?.[1];
  if (profile === undefined) {
    const advice = 'Check DURABILITY of the hot paths: fast may lose the last 2 s in a power cut.';
    findings.warn('settings: durability', `/metrics is not visible at ${url}`, advice);
  } else if (profile === 'fast') {
    findings.warn(
      'settings: durability',
      'DURABILITY=fast',
      'A power cut loses the reservations of the last 2 s. Use safe unless you accept that.',
    );
  } else findings.ok('settings: durability', `DURABILITY=${profile}`);
}

/** A right token must be accepted, and each that nobody may use refused. */
async function checkTokens(
  { settings, findings, saleId }: RehearsalContext,
  url: string,
): Promise<void> {
  const [ownToken] = settings.tokens.take(1);
  const own = await send(`${saleUrl(url, saleId)}/me`, { token: ownToken });
  if (own.status !== 200) throw refusalBy(url, own);
  const claims = { sub: rehearsalId('forged'), exp: Math.floor(Date.now() / 1_000) + 600 };
  const forged = createSigner({ algorithm: 'HS256', key: randomBytes(32) })(claims);
  const [head, payload] = [{ alg: 'none', typ: 'JWT' }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  );
  const wrong: [string, string | undefined][] = [
    ['a forged token', forged],
    ['a token without a signature', `${head}.${payload}.`],
    ['no token', undefined],
  ];
  const { sign } = settings.tokens;
  if (sign) wrong.push(['an expired token', sign({ exp: claims.exp - 1_200 })]);
  const accepted: string[] = [];
  for (const [what, token] of wrong) {
    const { status } = await send(buyUrl(url, saleId), {
      method: 'POST',
      token,
      // A hot path behind a gateway trusts this header.
      headers: token === undefined ? {} : { 'x-buyer-id': claims.sub },
    });
    if (status !== 401) accepted.push(`${what} got ${status}`);
  }
  findings.expect(
    'settings: tokens',
    accepted.length === 0,
    accepted.length === 0
      ? `${url} refuses ${wrong.map(([what]) => what).join(', ')}`
      : accepted.join(', '),
    'It must be 401. With BUYER_AUTH=header the hot path trusts X-Buyer-Id: buyers must reach it through the gateway only, so give the address of the gateway.',
  );
}

async function checkCaches({ findings, saleId }: RehearsalContext, url: string): Promise<void> {
  const first = await send(saleUrl(url, saleId));
  if (first.status !== 200) {
    throw new Fault(
      'server_unfit',
      `${url} does not show the sale of the rehearsal: ${problemIn(first)}. Do admin and the hot path use the same Redis?`,
    );
  }
  await sleep(CACHE_MS);
  const second = await send(saleUrl(url, saleId));
  const control = second.headers.get('cache-control') ?? 'nothing';
  const isFresh = Date.parse(second.body.serverTime) > Date.parse(first.body.serverTime);
  findings.expect(
    'settings: caches',
    isFresh && /no-cache|no-store/.test(control),
    isFresh
      ? `no cache on the way, Cache-Control: ${control}`
      : 'a repeated request got an old response',
    'A proxy or a content delivery network keeps responses of the sale. It must follow Cache-Control.',
  );
}

async function checkOrigin(
  { settings, findings, saleId }: RehearsalContext,
  url: string,
): Promise<void> {
  const { origin } = settings;
  if (origin === undefined) return;
  const { status, headers } = await send(buyUrl(url, saleId), {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization, idempotency-key',
    },
  });
  const allowed = headers.get('access-control-allow-origin');
  findings.expect(
    'settings: origin',
    status < 300 && (allowed === origin || allowed === '*'),
    allowed === null
      ? `pages of ${origin} may not call ${url}`
      : `pages of ${origin} may call ${url}`,
    'Add the origin to CORS_ORIGINS of the hot paths, and let proxies pass OPTIONS.',
  );
}

async function checkRoles({ admin, findings }: RehearsalContext): Promise<void> {
  const without = await admin.send('/sales?limit=1', { token: undefined });
  const wrong = await admin.send('/sales?limit=1', { token: randomBytes(16).toString('hex') });
  const statuses = [without.status, wrong.status];
  findings.expect(
    'settings: admin',
    statuses.every((status) => status === 401),
    `without a token and with a wrong one admin returns ${statuses.join(' and ')}`,
    'It must be 401. Otherwise everyone who reaches admin can change sales.',
  );
}
