/**
 * One attempt to deliver one message: signed, with one deadline, to an allowed address only. It follows no redirect and
 * reads little of the response. Node's own HTTP client suffices for this.
 */
import { type LookupAddress, lookup } from 'node:dns';
import type { IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { Webhook } from 'standardwebhooks';
import {
  complaintAboutUrl,
  isPublicAddress,
  type TargetRules,
} from '../../domain/webhook-target.ts';
import { http } from '../../process/node-http.ts';

/** Only the status of a response matters; reading a short body keeps the connection for the next message. */
const RESPONSE_BYTES_MAX = 64 * 1024;
const RESPONSE_MS_MAX = 1_000;
const IDLE_CONNECTIONS_MAX = 16;

export interface Outgoing {
  url: string;
  /** Each signs: a receiver accepts a message if one signature is valid. */
  secrets: readonly string[];
  messageId: string;
  payload: string;
}

/** `gone`: the endpoint will never accept a message again. */
export interface Sent {
  outcome: 'delivered' | 'failed' | 'gone';
  /** Null: there was no response. */
  status: number | null;
  /** Null when delivered. */
  error: string | null;
}

export class Sender {
  readonly #rules: TargetRules;
  readonly #timeoutMs: number;
  readonly #http = new http.Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX });
  readonly #https = new HttpsAgent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX });
  readonly #lookup: LookupFunction;

  constructor(rules: TargetRules, timeoutMs: number) {
    this.#rules = rules;
    this.#timeoutMs = timeoutMs;
    this.#lookup = rules.isDevelopment ? lookup : lookUpPublic;
  }

  /** Never rejects. An attempt that the signal cuts off counts as failed. */
  async send(outgoing: Outgoing, signal: AbortSignal): Promise<Sent> {
    const complaint = complaintAboutUrl(outgoing.url, this.#rules);
    if (complaint !== undefined) return failed(null, `the URL ${complaint}`);
    const cutOff = new AbortController();
    const cut = () => cutOff.abort();
    const timer = setTimeout(cut, this.#timeoutMs);
    signal.addEventListener('abort', cut, { once: true });
    try {
      const response = await this.#exchange(outgoing, cutOff.signal);
      const sent = judge(response.statusCode ?? 0);
      await readLittle(response);
      return sent;
    } catch (error) {
      if (cutOff.signal.aborted) return failed(null, `no response within ${this.#timeoutMs} ms`);
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

  /** Repeats once if a reused connection turned out to be closed: the request may not have been sent. */
  async #exchange(outgoing: Outgoing, signal: AbortSignal): Promise<IncomingMessage> {
    const first = this.#request(outgoing, signal);
    try {
      return await first.response;
    } catch (error) {
      if (!first.reusedSocket() || signal.aborted) throw error;
      return await this.#request(outgoing, signal).response;
    }
  }

  #request(outgoing: Outgoing, signal: AbortSignal) {
    const { url, secrets, messageId, payload } = outgoing;
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
        'webhook-signature': secrets
          .map((secret) => new Webhook(secret).sign(messageId, now, payload))
          .join(' '),
      },
    };
    const request = isSecure
      ? httpsRequest(url, { ...options, agent: this.#https })
      : http.request(url, { ...options, agent: this.#http });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('close', () =>
        reject(new Error('the connection was closed without a response')),
      );
      request.on('error', reject);
      request.end(payload);
    });
    return { response, reusedSocket: () => request.reusedSocket };
  }
}

function judge(status: number): Sent {
  if (status >= 200 && status < 300) return { outcome: 'delivered', status, error: null };
  if (status === 410) return { outcome: 'gone', status, error: 'responded 410, gone' };
  const isRedirect = status >= 300 && status < 400;
  return failed(status, `responded ${status}${isRedirect ? '; redirects are not followed' : ''}`);
}

function failed(status: number | null, error: string): Sent {
  return { outcome: 'failed', status, error };
}

/** Reads until the response ends. Closes the connection if it is too long or takes too long. */
async function readLittle(response: IncomingMessage): Promise<void> {
  let bytes = 0;
  const timer = setTimeout(() => response.destroy(), RESPONSE_MS_MAX);
  await new Promise<void>((resolve) => {
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > RESPONSE_BYTES_MAX) response.destroy();
    });
    response.on('error', () => undefined); // Only the status is needed, and that has been read.
    response.once('close', resolve);
  });
  clearTimeout(timer);
}

/** Like `dns.lookup`, but rejects a name if any of its addresses is not public. */
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

/** Node's errors contain addresses at most, never the URL, which may contain a token. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // One error for each address that was tried.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ').slice(0, 300);
  return error.message.slice(0, 300);
}
