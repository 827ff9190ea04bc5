/**
 * One try to deliver one message: signed, within one deadline, to an address that is allowed, following no redirect
 * and reading little of the answer. Node's own HTTP client does all of this and is there anyway.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { Webhook } from 'standardwebhooks';
import {
  complaintAboutUrl,
  isPublicAddress,
  type TargetRules,
} from '../../domain/webhook-target.ts';

/** Of an answer only the status matters; reading a short body keeps the connection for the next message. */
const ANSWER_BYTES_MAX = 64 * 1024;
const ANSWER_MS_MAX = 1_000;
const IDLE_CONNECTIONS_MAX = 16;

export interface Outgoing {
  url: string;
  secret: string;
  messageId: string;
  payload: string;
}

/** `gone`: the endpoint says that it will never want anything again. */
export interface Sent {
  outcome: 'delivered' | 'failed' | 'gone';
  /** Null: there was no answer. */
  status: number | null;
  /** Null when delivered. */
  error: string | null;
}

export class Sender {
  readonly #rules: TargetRules;
  readonly #timeoutMs: number;
  readonly #http = new HttpAgent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX });
  readonly #https = new HttpsAgent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX });
  readonly #lookup: LookupFunction;

  constructor(rules: TargetRules, timeoutMs: number) {
    this.#rules = rules;
    this.#timeoutMs = timeoutMs;
    this.#lookup = rules.isDevelopment ? lookup : lookUpPublic;
  }

  /** Never rejects. A try that the signal cuts off has failed like any other. */
  async send(outgoing: Outgoing, signal: AbortSignal): Promise<Sent> {
    const complaint = complaintAboutUrl(outgoing.url, this.#rules);
    if (complaint !== undefined) return failed(null, `the URL ${complaint}`);
    const cutOff = new AbortController();
    const cut = () => cutOff.abort();
    const timer = setTimeout(cut, this.#timeoutMs);
    signal.addEventListener('abort', cut, { once: true });
    try {
      const response = await this.#ask(outgoing, cutOff.signal);
      const sent = judge(response.statusCode ?? 0);
      await readLittle(response);
      return sent;
    } catch (error) {
      if (cutOff.signal.aborted) return failed(null, `no answer within ${this.#timeoutMs} ms`);
      return failed(null, reasonOf(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', cut);
    }
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  /** Once more where a kept connection turned out to be closed: the request may not even have left. */
  async #ask(outgoing: Outgoing, signal: AbortSignal): Promise<IncomingMessage> {
    const first = this.#request(outgoing, signal);
    try {
      return await first.response;
    } catch (error) {
      if (!first.reusedSocket() || signal.aborted) throw error;
      return await this.#request(outgoing, signal).response;
    }
  }

  #request(outgoing: Outgoing, signal: AbortSignal) {
    const { url, secret, messageId, payload } = outgoing;
    const now = new Date();
    const isSecure = url.startsWith('https:');
    const options = {
      method: 'POST',
      signal,
      lookup: this.#lookup,
      headers: {
        'Content-Type': 'application/json',
        'User-Agent': 'flash-sale',
        'webhook-id': messageId,
        'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
        'webhook-signature': new Webhook(secret).sign(messageId, now, payload),
      },
    };
    const request = isSecure
      ? httpsRequest(url, { ...options, agent: this.#https })
      : httpRequest(url, { ...options, agent: this.#http });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('close', () => reject(new Error('the connection was closed without an answer')));
      request.on('error', reject);
      request.end(payload);
    });
    return { response, reusedSocket: () => request.reusedSocket };
  }
}

function judge(status: number): Sent {
  if (status >= 200 && status < 300) return { outcome: 'delivered', status, error: null };
  if (status === 410) return { outcome: 'gone', status, error: 'answered 410, gone' };
  const isRedirect = status >= 300 && status < 400;
  return failed(status, `answered ${status}${isRedirect ? '; redirects are not followed' : ''}`);
}

function failed(status: number | null, error: string): Sent {
  return { outcome: 'failed', status, error };
}

/** Until the answer ends, has become too long or has taken too long; in the latter cases the connection is closed. */
async function readLittle(response: IncomingMessage): Promise<void> {
  let bytes = 0;
  const timer = setTimeout(() => response.destroy(), ANSWER_MS_MAX);
  await new Promise<void>((resolve) => {
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) response.destroy();
    });
    response.on('error', () => undefined); // The status has been read, and nothing else was wanted.
    response.once('close', resolve);
  });
  clearTimeout(timer);
}

/** As `dns.lookup`, for a connection that is to be made; refuses names with an address that is not public among theirs. */
const lookUpPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, []);
    const [first] = addresses;
    if (!first || !addresses.every(({ address }) => isPublicAddress(address))) {
      return callback(new Error('the name leads to an address that is not public'), []);
    }
    return options.all ? callback(null, addresses) : callback(null, first.address, first.family);
  });
};

/** Node's errors name addresses at most, never the URL, which may hold a token. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Of several addresses that were tried, the reasons of each.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ').slice(0, 300);
  return error.message.slice(0, 300);
}
