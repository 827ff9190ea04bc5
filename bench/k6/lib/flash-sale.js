/**
 * What the scenarios share: where the stack is, making a sale, being a buyer, and one reading of every answer.
 *
 * Nothing here is kept per VU beyond what a buyer needs for one purchase, so that 10,000 VUs fit in memory.
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

/** `.flash-sale/stack.json` of the repository, or of the place that FLASH_SALE_HOME has moved it to. */
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

/** With ADMIN_URL comes the environment of that stack, where the token is one of ADMIN_TOKENS (`role:token,…`). */
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
    throw new Error(`${name} wants a whole number from 1, not "${text}"`);
  }
  return value;
}

// ---- what is counted -------------------------------------------------------------------------------------------

/** Answers by kind. Each request that is over is counted in exactly one of the first five. */
const created = new Counter('created');
const replayed = new Counter('replayed');
/** Tagged with the problem's code, so that a threshold can name one: `refused{code:sold_out}`. */
const refused = new Counter('refused');
const unanswered = new Counter('unanswered');
const unexpected = new Counter('unexpected');
const retried = new Counter('retried');
/** Buyers who hold a reservation now: a 201, or the replay of one's own 201 whose answer got lost. */
const won = new Counter('won');
/** From the press of the button to the final answer: connecting, waiting and retrying included. */
const buyerWait = new Trend('buyer_wait', true);
/** The server's share of the last attempt: from the request sent to the answer read. */
const answerTime = new Trend('answer_time', true);

/** Filled by teardown. */
const verifyFailed = new Counter('verify_failed');
/** Winners, less the rows that the admin API lists: 0 when the buyers and the books agree. */
const unaccounted = new Counter('winners_without_row');
const rows = new Counter('reservation_rows');

const BUYER_WAIT_P99_LIMIT_MS = parameter('P99_LIMIT_MS', 15_000);

/** What must hold in every scenario; each adds its own exact counts. */
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
/** The most that a page may have. */
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
      // Longer than any run, so that no hold comes back and changes the counts while we look.
      holdSeconds: 3600,
      skus: [{ sku: 'UNIT', name: 'Unit', price: 49_900, stock }],
    }),
    201,
    'creating the sale',
  );
  expectStatus(admin('POST', `/sales/${saleId}/open`), 200, 'opening the sale');
  const deadline = Date.now() + OPEN_WITHIN_S * 1000;
  for (;;) {
    const answer = http.get(`${stack.hotPathUrl}/v1/sales/${saleId}`, { responseType: 'text' });
    if (answer.status === 200 && answer.json('status') === 'open') return { saleId };
    if (Date.now() > deadline) {
      fail(`The sale was not open for buyers after ${OPEN_WITHIN_S} s: ${describe(answer)}`);
    }
    sleep(0.1);
  }
}

/**
 * The books, after the last buyer: the promises must verify, and there must be a row for every winner and no other.
 * `verify` itself waits for the persister, so that after it all rows are there.
 */
export function checkBooks({ saleId }) {
  const answer = admin('GET', `/sales/${saleId}/verify`);
  if (answer.status !== 200 || answer.json('ok') !== true) {
    verifyFailed.add(1);
    console.error(`verify: ${describe(answer)}`);
  }
  const rowCount = countRows(saleId);
  rows.add(rowCount);
  unaccounted.add(-rowCount);
}

function countRows(saleId) {
  let count = 0;
  let cursor = '';
  do {
    const answer = admin('GET', `/reservations?saleId=${saleId}&limit=${PAGE_ROWS}${cursor}`);
    expectStatus(answer, 200, 'listing the reservations');
    const page = answer.json();
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

function expectStatus(answer, status, doing) {
  if (answer.status !== status) fail(`${doing}: ${describe(answer)}`);
}

// ---- the buyer -------------------------------------------------------------------------------------------------

const ATTEMPTS_MAX = parameter('ATTEMPTS_MAX', 10);
const TOKEN_SECONDS = 3600;
const JWT_HEADER = encoding.b64encode(JSON.stringify({ alg: 'HS256', typ: 'JWT' }), 'rawurl');

/** HS256, as RFC 7515 has it. Signed where it is used: 10,000 prepared tokens would be copied into every VU. */
export function tokenOf(buyerId) {
  const now = Math.floor(Date.now() / 1000);
  const claims = JSON.stringify({ sub: buyerId, iat: now, exp: now + TOKEN_SECONDS });
  const signed = `${JWT_HEADER}.${encoding.b64encode(claims, 'rawurl')}`;
  return `${signed}.${crypto.hmac('sha256', stack.jwtSecret, signed, 'base64rawurl')}`;
}

/**
 * One purchase of one unit, until it is decided or ATTEMPTS_MAX is used up. Whatever is worth repeating is repeated
 * with the same Idempotency-Key, which is what makes the repetition safe. When nobody else uses the key, a replay
 * after an attempt of one's own is how a buyer learns of having won.
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
  const pressedAt = Date.now();
  let read;
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const answer = http.post(`${stack.hotPathUrl}/v1/sales/${saleId}/buy`, null, params);
    read = classify(answer);
    if (read.outcome !== 'again') {
      answerTime.add(answer.timings.duration);
      buyerWait.add(Date.now() - pressedAt);
      return tally(read, { ownReplay: attempt > 1 && !keyShared }, answer);
    }
    if (attempt < ATTEMPTS_MAX) {
      retried.add(1, { code: read.code });
      sleep(read.afterSeconds + Math.random());
    }
  }
  unanswered.add(1, { code: read.code });
  return { outcome: 'unanswered' };
}

/** The only place that knows what an answer means. */
function classify(answer) {
  // No answer at all: refused, reset or timed out. The key makes it safe to ask again.
  if (answer.status === 0) return { outcome: 'again', code: 'no_answer', afterSeconds: 0.2 };
  const body = parse(answer.body);
  switch (answer.status) {
    case 201:
      return { outcome: 'created', reservationId: body.reservationId };
    case 200:
      if (answer.headers['Idempotent-Replayed'] !== 'true') return { outcome: 'unexpected' };
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
        afterSeconds: Number(answer.headers['Retry-After']) || 1,
      };
    default:
      return { outcome: 'unexpected' };
  }
}

function tally(read, { ownReplay }, answer) {
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
      console.error(`buy: ${describe(answer)}`);
  }
  return read;
}

/** Whether the buyer's own view knows the reservation; for scenarios that compare ids. */
export function reservationExists({ reservationId, token }) {
  const answer = http.get(`${stack.hotPathUrl}/v1/reservations/${reservationId}`, {
    headers: { Authorization: `Bearer ${token}` },
    responseType: 'text',
    tags: { name: 'read reservation' },
  });
  return answer.status === 200 && answer.json('reservationId') === reservationId;
}

/** Unlike `__VU`, unique over all instances of a distributed run. */
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

function describe(answer) {
  if (answer.status === 0) return `no answer (${answer.error})`;
  return `${answer.status} ${String(answer.body).slice(0, 500)}`;
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
/** Every press of the button ends as one of these. */
const PRESSES = [
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

/** `handleSummary` of every scenario: a table for people, and the same as JSON beside stack.json. */
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
    presses: PRESSES.reduce((sum, label) => sum + counts[label], 0),
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
