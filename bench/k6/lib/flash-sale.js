/**
 * The shared parts of the scenarios: find the stack, make a sale, be a buyer, and classify responses.
 *
 * A VU keeps only what one purchase needs, so that 10,000 VUs fit in memory.
 */
import { fail, sleep } from 'k6';
import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

// ---- the stack -------------------------------------------------------------------------------------------------

const STACK_JSON = __ENV.STACK_JSON || defaultStackJson();
const stack = readStack();

/** `.flash-sale/stack.json` of the repository, or in FLASH_SALE_HOME. */
function defaultStackJson() {
  if (__ENV.FLASH_SALE_HOME) return `${__ENV.FLASH_SALE_HOME}/stack.json`;
  return import.meta.resolve('../../../.flash-sale/stack.json');
}

function readStack() {
  const given = {
    hotPathUrl: __ENV.HOT_PATH_URL,
    adminUrl: __ENV.ADMIN_URL,
    adminToken: __ENV.ADMIN_TOKEN || operatorToken(),
    jwtSecret: __ENV.JWT_SECRET,
  };
  if (given.hotPathUrl && given.adminUrl && given.adminToken && given.jwtSecret) return given;
  let written;
  try {
    written = JSON.parse(open(STACK_JSON));
  } catch (error) {
    throw new Error(
      `No stack found: ${STACK_JSON} is not readable (${String(error)}). Run "npm start" in another terminal first, ` +
        'or set HOT_PATH_URL, ADMIN_URL, ADMIN_TOKEN and JWT_SECRET.',
      { cause: error },
    );
  }
  return {
    hotPathUrl: given.hotPathUrl || written.hotPathUrl,
    adminUrl: given.adminUrl || written.adminUrl,
    adminToken: given.adminToken || written.adminToken,
    jwtSecret: given.jwtSecret || written.jwtSecret,
  };
}

/** The operator token in ADMIN_TOKENS (`role:token,…`), which comes with ADMIN_URL. */
function operatorToken() {
  if (!__ENV.ADMIN_URL || !__ENV.ADMIN_TOKENS) return undefined;
  const pairs = __ENV.ADMIN_TOKENS.split(',').map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith('operator:'))?.slice('operator:'.length);
}

/** A whole number from the environment: `k6 run -e STOCK=500 …`. */
export function parameter(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`${name} must be a whole number from 1, not "${text}"`);
  }
  return value;
}

// ---- what is counted -------------------------------------------------------------------------------------------

/** Responses by kind. Each finished purchase counts in exactly one of the first five. */
const created = new Counter('created');
const replayed = new Counter('replayed');
/** Tagged with the problem's code, so that a threshold can name one: `refused{code:sold_out}`. */
const refused = new Counter('refused');
const unanswered = new Counter('unanswered');
const unexpected = new Counter('unexpected');
const retried = new Counter('retried');
/** Buyers with a reservation: a 201, or a replay of the buyer's own 201 whose response was lost. */
const won = new Counter('won');
/** From the buyer's click to the final response, with connecting, waiting and retries. */
const buyerWait = new Trend('buyer_wait', true);
/** Of the last attempt: from the request sent to the response read. */
const responseTime = new Trend('answer_time', true);

/** Set by teardown. */
const verifyFailed = new Counter('verify_failed');
/** Winners minus rows in the admin API: 0 when both agree. */
const unaccounted = new Counter('winners_without_row');
const rows = new Counter('reservation_rows');

const BUYER_WAIT_P99_LIMIT_MS = parameter('P99_LIMIT_MS', 15_000);

/** Thresholds of every scenario; each scenario adds its own counts. */
export function thresholds(own) {
  return {
    unanswered: ['count==0'],
    unexpected: ['count==0'],
    verify_failed: ['count==0'],
    winners_without_row: ['count==0'],
    buyer_wait: [`p(99)<${BUYER_WAIT_P99_LIMIT_MS}`],
    ...own,
  };
}

export const SUMMARY_TREND_STATS = [
  'min',
  'med',
  'avg',
  'p(90)',
  'p(95)',
  'p(99)',
  'p(99.9)',
  'max',
];

// ---- the sale --------------------------------------------------------------------------------------------------

const OPEN_WITHIN_S = 20;
/** The maximum of the API. */
const PAGE_ROWS = 500;

/** Creates and opens a sale of one SKU through the admin API, and waits until buyers can see it. */
export function openSale({ scenario, stock, perBuyerLimit = 1 }) {
  const saleId = `k6-${scenario}-${Date.now().toString(36)}`;
  expectStatus(
    admin('POST', '/sales', {
      saleId,
      name: `k6 ${scenario}`,
      currency: 'EUR',
      perBuyerLimit,
      // Longer than any run, so that no hold expires and changes the counts.
      holdSeconds: 3600,
      skus: [{ sku: 'UNIT', name: 'Unit', price: 49_900, stock }],
    }),
    201,
    'creating the sale',
  );
  expectStatus(admin('POST', `/sales/${saleId}/open`), 200, 'opening the sale');
  const deadline = Date.now() + OPEN_WITHIN_S * 1000;
  for (;;) {
    const response = http.get(`${stack.hotPathUrl}/v1/sales/${saleId}`, { responseType: 'text' });
    if (response.status === 200 && response.json('status') === 'open') return { saleId };
    if (Date.now() > deadline) {
      fail(`The sale was not open for buyers after ${OPEN_WITHIN_S} s: ${describe(response)}`);
    }
    sleep(0.1);
  }
}

/**
 * Runs `verify` after the last buyer and counts the rows, which must match the winners. `verify` waits for the
 * persister, so all rows are there after it.
 */
export function checkSale({ saleId }) {
  const response = admin('GET', `/sales/${saleId}/verify`);
  if (response.status !== 200 || response.json('ok') !== true) {
    verifyFailed.add(1);
    console.error(`verify: ${describe(response)}`);
  }
  const rowCount = countRows(saleId);
  rows.add(rowCount);
  unaccounted.add(-rowCount);
}

function countRows(saleId) {
  let count = 0;
  let cursor = '';
  do {
    const response = admin('GET', `/reservations?saleId=${saleId}&limit=${PAGE_ROWS}${cursor}`);
    expectStatus(response, 200, 'listing the reservations');
    const page = response.json();
    count += page.data.length;
    cursor = page.nextCursor ? `&cursor=${encodeURIComponent(page.nextCursor)}` : '';
  } while (cursor !== '');
  return count;
}

function admin(method, path, body) {
  const headers = { Authorization: `Bearer ${stack.adminToken}` };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  return http.request(
    method,
    `${stack.adminUrl}/admin/v1${path}`,
    body === undefined ? null : JSON.stringify(body),
    { headers, responseType: 'text' },
  );
}

function expectStatus(response, status, doing) {
  if (response.status !== status) fail(`${doing}: ${describe(response)}`);
}

// ---- the buyer -------------------------------------------------------------------------------------------------

const ATTEMPTS_MAX = parameter('ATTEMPTS_MAX', 10);
const TOKEN_SECONDS = 3600;
const JWT_HEADER = encoding.b64encode(JSON.stringify({ alg: 'HS256', typ: 'JWT' }), 'rawurl');

/** HS256 (RFC 7515). Signed on use, because 10,000 prepared tokens would be copied into every VU. */
export function tokenOf(buyerId) {
  const now = Math.floor(Date.now() / 1000);
  const claims = JSON.stringify({ sub: buyerId, iat: now, exp: now + TOKEN_SECONDS });
  const signed = `${JWT_HEADER}.${encoding.b64encode(claims, 'rawurl')}`;
  return `${signed}.${crypto.hmac('sha256', stack.jwtSecret, signed, 'base64rawurl')}`;
}

/**
 * Buys one unit. Retries with the same Idempotency-Key, which makes a retry safe, until the purchase is decided or
 * ATTEMPTS_MAX is reached. If no other buyer uses the key, a replay after a retry means that the buyer won.
 *
 * Returns `{ outcome, reservationId? }`; outcome is one of created, replayed, refused, unanswered, unexpected.
 */
export function buy({
  saleId,
  buyerId,
  token = tokenOf(buyerId),
  key = buyerId,
  keyShared = false,
}) {
  const params = {
    headers: { Authorization: `Bearer ${token}`, 'Idempotency-Key': key },
    responseType: 'text',
    // One name for all sales and buyers: k6 keeps a time series per name.
    tags: { name: 'buy' },
    timeout: '60s',
  };
  const startedAt = Date.now();
  let read;
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const response = http.post(`${stack.hotPathUrl}/v1/sales/${saleId}/buy`, null, params);
    read = classify(response);
    if (read.outcome !== 'again') {
      responseTime.add(response.timings.duration);
      buyerWait.add(Date.now() - startedAt);
      return tally(read, { ownReplay: attempt > 1 && !keyShared }, response);
    }
    if (attempt < ATTEMPTS_MAX) {
      retried.add(1, { code: read.code });
      sleep(read.afterSeconds + Math.random());
    }
  }
  unanswered.add(1, { code: read.code });
  return { outcome: 'unanswered' };
}

/** Classifies a response. */
function classify(response) {
  // No response: refused, reset or timed out. The key makes a retry safe.
  if (response.status === 0) return { outcome: 'again', code: 'no_response', afterSeconds: 0.2 };
  const body = parse(response.body);
  switch (response.status) {
    case 201:
      return { outcome: 'created', reservationId: body.reservationId };
    case 200:
      if (response.headers['Idempotent-Replayed'] !== 'true') return { outcome: 'unexpected' };
      return { outcome: 'replayed', reservationId: body.reservationId };
  }
  switch (body.code) {
    case 'sold_out':
      return { outcome: 'refused', code: body.code };
    case 'recovering':
    case 'overloaded':
    case 'unavailable':
    case 'rate_limited':
      return {
        outcome: 'again',
        code: body.code,
        afterSeconds: Number(response.headers['Retry-After']) || 1,
      };
    default:
      return { outcome: 'unexpected' };
  }
}

function tally(read, { ownReplay }, response) {
  switch (read.outcome) {
    case 'created':
      created.add(1);
      won.add(1);
      unaccounted.add(1);
      break;
    case 'replayed':
      replayed.add(1);
      if (ownReplay) {
        won.add(1);
        unaccounted.add(1);
      }
      break;
    case 'refused':
      refused.add(1, { code: read.code });
      break;
    default:
      unexpected.add(1);
      console.error(`buy: ${describe(response)}`);
  }
  return read;
}

/** Whether the buyer can read the reservation. */
export function reservationExists({ reservationId, token }) {
  const response = http.get(`${stack.hotPathUrl}/v1/reservations/${reservationId}`, {
    headers: { Authorization: `Bearer ${token}` },
    responseType: 'text',
    tags: { name: 'read reservation' },
  });
  return response.status === 200 && response.json('reservationId') === reservationId;
}

/** Unlike `__VU`, unique across all instances of a distributed run. */
export function buyerIdOfVu() {
  return `buyer-${exec.vu.idInTest}`;
}

function parse(body) {
  try {
    return JSON.parse(body) || {};
  } catch {
    return {};
  }
}

function describe(response) {
  if (response.status === 0) return `no response (${response.error})`;
  return `${response.status} ${String(response.body).slice(0, 500)}`;
}

// ---- the summary -----------------------------------------------------------------------------------------------

const COUNTS = [
  ['created (201)', 'created'],
  ['replayed (200)', 'replayed'],
  ['refused, sold out (409)', 'refused{code:sold_out}', 'refused'],
  ['retried', 'retried'],
  ['unanswered', 'unanswered'],
  ['unexpected', 'unexpected'],
  ['reservations in PostgreSQL', 'reservation_rows'],
  ['verify failed', 'verify_failed'],
  ['winners without a row', 'winners_without_row'],
];
/** Every purchase ends as one of these. */
const ENDINGS = [
  'created (201)',
  'replayed (200)',
  'refused, sold out (409)',
  'unanswered',
  'unexpected',
];
const TIMES = [
  ['click to response', 'buyer_wait'],
  ['last attempt, server', 'answer_time'],
];

/** `handleSummary` of every scenario: a table on the console, and the same as JSON beside stack.json. */
export function summaryOf(scenario) {
  return (data) => {
    const result = resultOf(scenario, data);
    const outputs = { stdout: tableOf(result) };
    const path = __ENV.RESULT_JSON || resultBesideStack(scenario);
    if (path) outputs[path] = `${JSON.stringify(result, null, 2)}\n`;
    return outputs;
  };
}

function resultBesideStack(scenario) {
  if (__ENV.HOT_PATH_URL) return undefined;
  return STACK_JSON.replace(/^file:\/\//, '').replace(/[^/]*$/, `k6-${scenario}.json`);
}

function resultOf(scenario, data) {
  const counts = {};
  for (const [label, ...metrics] of COUNTS) {
    const metric = metrics.find((name) => data.metrics[name]);
    counts[label] = metric ? data.metrics[metric].values.count : 0;
  }
  const times = {};
  for (const [label, metric] of TIMES) times[label] = data.metrics[metric]?.values ?? {};
  const promises = [];
  for (const [metric, { thresholds: own = {} }] of Object.entries(data.metrics)) {
    for (const [expression, { ok }] of Object.entries(own)) {
      promises.push({ threshold: `${metric}: ${expression}`, ok });
    }
  }
  return {
    scenario,
    ok: promises.every(({ ok }) => ok),
    seconds: data.state.testRunDurationMs / 1000,
    purchases: ENDINGS.reduce((sum, label) => sum + counts[label], 0),
    counts,
    timesMs: times,
    thresholds: promises,
  };
}

function tableOf(result) {
  const lines = ['', `${result.scenario}: ${result.ok ? 'every threshold held' : 'FAILED'}`, ''];
  for (const [label, value] of Object.entries(result.counts)) {
    lines.push(`  ${label.padEnd(28)}${String(value).padStart(10)}`);
  }
  lines.push(
    '',
    `  ${''.padEnd(28)}${['p50', 'p99', 'p99.9', 'max'].map((head) => head.padStart(10)).join('')}`,
  );
  for (const [label, values] of Object.entries(result.timesMs)) {
    const cells = ['med', 'p(99)', 'p(99.9)', 'max'].map((name) =>
      milliseconds(values[name]).padStart(10),
    );
    lines.push(`  ${label.padEnd(28)}${cells.join('')}`);
  }
  lines.push('');
  for (const { threshold, ok } of result.thresholds)
    lines.push(`  ${ok ? 'ok  ' : 'FAIL'}  ${threshold}`);
  return `${lines.join('\n')}\n\n`;
}

function milliseconds(value) {
  return value === undefined ? '-' : `${value.toFixed(1)} ms`;
}
