/**
 * One thread of the load: connections that send purchases at a given rate. A client as the API asks for: after a 503 or
 * 429 it waits as `Retry-After` says, then sends the same request again.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

export interface LoadOrder {
  urls: string[];
  tokens: string[];
  /** Each token is used once; otherwise in rotation. */
  isOnce: boolean;
  idempotencyKey: string;
  connections: number;
  perSecond: number;
  seconds: number;
}

export interface LoadReport {
  /** Responses that settled a purchase, by status and code. */
  outcomes: Record<string, number>;
  reservationIds: string[];
  /** Of each of these responses. */
  latenciesMs: number[];
  retries: number;
  /** Requests without a response. */
  failures: Record<string, number>;
  elapsedMs: number;
  /** Of this thread's event loop, from 0 to 1. */
  utilization: number;
}

/** The load may take this much longer, until every buyer has a response. */
const SETTLE_MS_MAX = 10_000;
const RESPONSE_MS_MAX = 10_000;
const RETRY_MS_MAX = 5_000;

async function run(order: LoadOrder): Promise<LoadReport> {
  const { perSecond, seconds, tokens, isOnce } = order;
  const report: LoadReport = {
    outcomes: {},
    reservationIds: [],
    latenciesMs: [],
    retries: 0,
    failures: {},
    elapsedMs: 0,
    utilization: 0,
  };
  const senders = order.urls.map((url) => new Sender(new URL(url), order.connections));
  const most = Math.min(isOnce ? tokens.length : Infinity, Math.ceil(perSecond * seconds));
  const before = performance.eventLoopUtilization();
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1_000;
  const giveUpAt = endsAt + SETTLE_MS_MAX;
  let taken = 0;
  const connection = async (index: number) => {
    const sender = senders[index % senders.length]!;
    while (taken < most && performance.now() < (isOnce ? giveUpAt : endsAt)) {
      // Each connection waits for a turn of its own: if all waited for the next one, this thread would only wake them.
      const turn = taken++;
      const dueMs = (turn / perSecond) * 1_000 - (performance.now() - startedAt);
      if (dueMs > 0) await sleep(dueMs);
      const token = tokens[turn % tokens.length]!;
      await buy(sender, token, order.idempotencyKey, giveUpAt, report);
    }
  };
  await Promise.all(Array.from({ length: order.connections }, (_, index) => connection(index)));
  report.elapsedMs = performance.now() - startedAt;
  report.utilization = performance.eventLoopUtilization(before).utilization;
  for (const sender of senders) sender.close();
  return report;
}

async function buy(
  sender: Sender,
  token: string,
  key: string,
  giveUpAt: number,
  report: LoadReport,
): Promise<void> {
  for (;;) {
    const sentAt = performance.now();
    const reply = await sender.post(token, key);
    let waitMs = RETRY_MS_MAX / 10;
    if (typeof reply === 'string') {
      report.failures[reply] = (report.failures[reply] ?? 0) + 1;
    } else if (reply.status === 503 || reply.status === 429) {
      waitMs = Math.min(RETRY_MS_MAX, (reply.retryAfterSeconds || 1) * 1_000);
    } else {
      settle(reply, performance.now() - sentAt, report);
      return;
    }
    if (performance.now() + waitMs > giveUpAt) {
      const outcome = typeof reply === 'string' ? 'no response' : outcomeOf(reply);
      report.outcomes[outcome] = (report.outcomes[outcome] ?? 0) + 1;
      return;
    }
    report.retries += 1;
    await sleep(waitMs);
  }
}

interface Reply {
  status: number;
  retryAfterSeconds: number;
  body: string;
}

function settle(reply: Reply, latencyMs: number, report: LoadReport): void {
  const outcome = outcomeOf(reply);
  report.outcomes[outcome] = (report.outcomes[outcome] ?? 0) + 1;
  report.latenciesMs.push(latencyMs);
  // 200: the first response was lost, and this is the repetition.
  if (reply.status < 300) report.reservationIds.push(JSON.parse(reply.body).reservationId);
}

function outcomeOf({ status, body }: Reply): string {
  if (status < 300) return 'reserved';
  return /"code":"(\w+)"/.exec(body)?.[1] ?? String(status);
}

/** Keeps its connections open. */
class Sender {
  readonly #url: URL;
  readonly #agent: HttpAgent;
  readonly #request: typeof httpRequest;

  constructor(url: URL, connections: number) {
    const isSecure = url.protocol === 'https:';
    const options = { keepAlive: true, maxSockets: connections };
    this.#url = url;
    this.#agent = isSecure ? new HttpsAgent(options) : new HttpAgent(options);
    this.#request = isSecure ? httpsRequest : httpRequest;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Returns the reason if there is no response. */
  post(token: string, key: string): Promise<Reply | string> {
    return new Promise((resolve) => {
      const request = this.#request(this.#url, {
        method: 'POST',
        agent: this.#agent,
        timeout: RESPONSE_MS_MAX,
        headers: {
          authorization: `Bearer ${token}`,
          'idempotency-key': key,
          'content-length': 0,
        },
      });
      request.on('response', (response: IncomingMessage) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => {
          const retryAfterSeconds = Number(response.headers['retry-after'] ?? 0);
          resolve({ status: response.statusCode!, retryAfterSeconds, body });
        });
        response.on('error', (error) => resolve(codeOf(error)));
      });
      request.on('timeout', () => request.destroy(new Error('no response in time')));
      request.on('error', (error) => resolve(codeOf(error)));
      request.end();
    });
  }
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}

// A thread has no origin.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
if (parentPort) parentPort.postMessage(await run(workerData as LoadOrder));
