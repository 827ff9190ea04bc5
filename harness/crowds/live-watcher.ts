/** A WebSocket client of `/live` that keeps every message with its time of arrival. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { type Dispatcher, WebSocket } from 'undici';
import { http } from '../../src/process/node-http.ts';
import { tokenOf } from '../engine/hot-path.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';

export interface LiveMessage {
  atMs: number;
  // Any JSON: the test asserts on it.
  // oxlint-disable-next-line typescript/no-explicit-any
  message: any;
}

interface WatchChoices {
  buyer?: string;
  protocols?: string[];
  headers?: Record<string, string>;
  /** One that trusts the server's certificate. */
  dispatcher?: Dispatcher;
}

export class LiveWatcher {
  readonly messages: LiveMessage[] = [];
  readonly socket: WebSocket;
  closeCode: number | undefined;
  failure: unknown;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.addEventListener('message', ({ data }) => {
      this.messages.push({ atMs: performance.now(), message: JSON.parse(String(data)) });
    });
    socket.addEventListener('close', ({ code }) => {
      this.closeCode = code;
    });
    socket.addEventListener('error', ({ error }) => {
      this.failure = error;
    });
  }

  /** The messages of one type, in order. */
  // oxlint-disable-next-line typescript/no-explicit-any
  of(type: 'sale' | 'reservation' | 'waitlist'): any[] {
    return this.messages.map(({ message }) => message).filter((message) => message.type === type);
  }

  /** Waits for a message of this type that satisfies the predicate, and returns it. */
  // oxlint-disable-next-line typescript/no-explicit-any
  receives(type: 'sale' | 'reservation' | 'waitlist', wanted: (message: any) => boolean) {
    return eventually(() => {
      const found = this.of(type).find(wanted);
      assert.ok(
        found,
        `no such message yet; the last of type ${type}: ${JSON.stringify(this.of(type).slice(-5))}`,
      );
      return found;
    });
  }

  async close(): Promise<void> {
    if (this.closeCode !== undefined) return;
    this.socket.close();
    await eventually(() => assert.notEqual(this.closeCode, undefined));
  }
}

/** Connects, and disconnects with the scope. */
export function useWatcher(
  scope: Scope,
  ...target: Parameters<typeof watch>
): Promise<LiveWatcher> {
  return use(scope, () => watch(...target));
}

async function watch(
  hotPath: { url: string },
  saleId: string,
  choices: WatchChoices = {},
): Promise<LiveWatcher> {
  const socket = new WebSocket(`${hotPath.url.replace('http', 'ws')}/v1/sales/${saleId}/live`, {
    ...(choices.protocols ? { protocols: choices.protocols } : {}),
    ...(choices.dispatcher ? { dispatcher: choices.dispatcher } : {}),
    headers: {
      ...(choices.buyer === undefined ? {} : { authorization: `Bearer ${tokenOf(choices.buyer)}` }),
      ...choices.headers,
    },
  });
  const watcher = new LiveWatcher(socket);
  await eventually(() => {
    assert.equal(watcher.closeCode, undefined, `not opened: ${inspect(watcher.failure)}`);
    assert.equal(socket.readyState, WebSocket.OPEN);
  });
  return watcher;
}

/** Requests an upgrade and returns the status of the response: 101, or that of the refusal. */
export async function refusedUpgrade(
  hotPath: { url: string },
  saleId: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; code: string | undefined; headers: Record<string, unknown> }> {
  const upgrade = http.request(`${hotPath.url}/v1/sales/${saleId}/live`, {
    agent: false,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    },
  });
  upgrade.end();
  const upgraded = once(upgrade, 'upgrade').then(([response, socket]) => {
    socket.destroy();
    return { status: 101, code: undefined, headers: response.headers };
  });
  const refused = once(upgrade, 'response').then(async ([response]) => {
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { status: response.statusCode, code: JSON.parse(text).code, headers: response.headers };
  });
  // The other one rejects when the connection closes.
  upgraded.catch(() => undefined);
  refused.catch(() => undefined);
  return Promise.race([upgraded, refused]);
}
