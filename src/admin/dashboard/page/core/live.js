/**
 * Live numbers: the server pushes them twice a second as Server-Sent Events. While the stream cannot be opened, the page
 * asks for the numbers every few seconds instead. A tab that nobody sees closes its stream: browsers allow six
 * connections to a server over all tabs.
 */
import { signal } from '@preact/signals';
import { noteServerTime } from './clock.js';
import { Problem, request } from './request.js';
import { hasEnded, loadSession, noteSessionEnd, session } from './session.js';

/** Without an event for this long, the numbers are shown as old. */
const STALE_MS = 3_000;
/** A stream without a first event, or a request for the numbers without a response, is given up after this time. */
const FIRST_MS_MAX = 5_000;
const WATCH_MS = 500;
const RECONNECT_FIRST_MS = 500;
const RECONNECT_MS_MAX = 5_000;
const HIDDEN_MS_MAX = 5_000;
const SHORT = { timeoutMs: FIRST_MS_MAX };

/**
 * `connecting`: the first event is awaited. `live`: pushed numbers. `polling`: the numbers are asked for. `stale`: no
 * event for some seconds. `offline`: no response.
 *
 * @typedef {'connecting' | 'live' | 'polling' | 'stale' | 'offline'} Connection
 */

/** @type {import('@preact/signals').Signal<Connection>} */
export const connection = signal('connecting');
/** When the last numbers arrived, by `performance.now()`; undefined: none yet. @type {import('@preact/signals').Signal<number | undefined>} */
export const lastNumbersAt = signal(undefined);

/**
 * @template {{ at?: string }} T
 * @param {object} source
 * @param {string} source.url
 * @param {'overview' | 'sale'} source.event
 * @param {() => Promise<T>} source.poll Asks for the same numbers once.
 * @param {(numbers: T) => void} source.onNumbers
 * @param {(problem: Problem) => void} source.onProblem The numbers do not exist: the sale is unknown.
 * @returns {() => void} Closes it.
 */
export function watchLive({ url, event, poll, onNumbers, onProblem }) {
  /** @type {EventSource | undefined} */
  let stream;
  /** @type {number | undefined} */
  let retryTimer;
  /** @type {number | undefined} */
  let hiddenTimer;
  let failures = 0;
  /** When the stream was opened, or its last event arrived. */
  let heardAt = 0;
  let hasEvents = false;
  let isClosed = false;

  const receive = (/** @type {T} */ numbers, /** @type {Connection} */ how) => {
    if (isClosed) return;
    noteServerTime(numbers.at);
    lastNumbersAt.value = performance.now();
    connection.value = how;
    onNumbers(numbers);
  };

  const disconnect = () => {
    stream?.close();
    stream = undefined;
    clearTimeout(retryTimer);
    retryTimer = undefined;
  };

  const connect = () => {
    disconnect();
    if (isClosed || document.hidden) return;
    const opened = new EventSource(url);
    stream = opened;
    heardAt = performance.now();
    hasEvents = false;
    opened.addEventListener(event, ({ data }) => {
      failures = 0;
      heardAt = performance.now();
      hasEvents = true;
      receive(JSON.parse(data), 'live');
    });
    // The server ends the stream: its process stops, or the session has ended.
    opened.addEventListener('end', () => void recover());
    opened.addEventListener('error', () => void recover());
  };

  /** Finds out what is wrong, meanwhile asks for the numbers, and connects again after a pause. */
  const recover = async () => {
    if (isClosed || retryTimer !== undefined) return;
    disconnect();
    failures += 1;
    const longest = Math.min(RECONNECT_FIRST_MS * 2 ** (failures - 1), RECONNECT_MS_MAX);
    // Spread, so that a thousand pages do not return at the same moment.
    retryTimer = setTimeout(connect, longest / 2 + Math.random() * (longest / 2));
    try {
      if (failures > 1) receive(await poll(), 'polling');
      else await loadSession(SHORT);
    } catch (error) {
      if (isClosed) return;
      if (error instanceof Problem && error.status === 401) noteSessionEnd();
      else if (error instanceof Problem && error.status === 404) onProblem(error);
      else if (!(error instanceof Problem)) connection.value = 'offline';
    }
  };

  const onVisibility = () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(disconnect, HIDDEN_MS_MAX);
    else if (!stream) connect();
  };
  const onOnline = () => connect();

  const watch = setInterval(() => {
    if (document.hidden || !stream) return;
    // A connection that died silently gives no error.
    if (performance.now() - heardAt <= (hasEvents ? STALE_MS : FIRST_MS_MAX)) return;
    if (connection.value === 'live') connection.value = 'stale';
    void recover();
  }, WATCH_MS);

  // After signing in again, the numbers go on at once.
  const stopWatchingSession = hasEnded.subscribe((ended) => {
    if (!ended && !stream && session.peek()) connect();
  });
  document.addEventListener('visibilitychange', onVisibility);
  addEventListener('online', onOnline);
  if (!stream) connect();

  return () => {
    isClosed = true;
    disconnect();
    connection.value = 'connecting';
    lastNumbersAt.value = undefined;
    clearTimeout(hiddenTimer);
    clearInterval(watch);
    stopWatchingSession();
    document.removeEventListener('visibilitychange', onVisibility);
    removeEventListener('online', onOnline);
  };
}

/** Numbers of the same shape without the stream. @returns {Promise<import('./shapes.js').Overview>} */
export async function pollOverview() {
  const { data } = await request('GET', '/admin/v1/sales?archived=false&limit=200', SHORT);
  return {
    at: /** @type {any} */ (undefined),
    sales: data.map(rowOf),
    processes: null,
    servers: null,
  };
}

/** @param {string} saleId @returns {Promise<import('./shapes.js').SaleLive>} */
export async function pollSale(saleId) {
  const id = encodeURIComponent(saleId);
  const [sale, newest] = await Promise.all([
    request('GET', `/admin/v1/sales/${id}`, SHORT),
    request('GET', `/admin/v1/reservations?saleId=${id}&limit=10`, SHORT),
  ]);
  return {
    at: /** @type {any} */ (undefined),
    sale,
    decisions: null,
    latencyMs: null,
    processes: null,
    servers: null,
    newest: newest.data,
    history: null,
  };
}

/** @param {import('./shapes.js').Sale} sale @returns {import('./shapes.js').SaleRow} */
export function rowOf(sale) {
  const { saleId, name, status, startsAt, endsAt, redis } = sale;
  return { saleId, name, status, startsAt, endsAt, redis, ...totalsOf(sale.skus) };
}

/**
 * Over all SKUs; null while a count is unknown.
 *
 * @param {readonly import('./shapes.js').Sku[]} skus
 */
export function totalsOf(skus) {
  const sum = (/** @type {'loaded' | 'remaining' | 'held' | 'confirmed' | 'waiting'} */ field) =>
    skus.reduce(
      (/** @type {number | null} */ total, sku) =>
        total === null || sku[field] === null ? null : total + sku[field],
      0,
    );
  return {
    loaded: sum('loaded'),
    remaining: sum('remaining'),
    held: sum('held'),
    confirmed: sum('confirmed'),
    waiting: sum('waiting'),
  };
}
