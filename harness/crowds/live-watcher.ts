/** A client of `/live`: keeps all that it is messages, with the time at which it heard it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { inspect } from 'node:util';
import { WebSocket } from 'undici';
import { tokenOf } from '../engine/hot-path.ts';
import { eventually } from '../eventually.ts';

export interface LiveMessage {
  atMs: number;
  // What is messages is whatever it is: a test says what it expects of it.
  // oxlint-disable-next-line typescript/no-explicit-any
  message: any;
}

export interface WatchChoices {
  buyer?: string;
  protocols?: string[];
  headers?: Record<string, string>;
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

  /** All messages of one type, in order. */
  // oxlint-disable-next-line typescript/no-explicit-any
  of(type: 'sale' | 'reservation' | 'waitlist'): any[] {
    return this.messages.map(({ message }) => message).filter((message) => message.type === type);
  }

  /** Waits until a message of the type satisfies, and returns it. */
  // oxlint-disable-next-line typescript/no-explicit-any
  receives(type: 'sale' | 'reservation' | 'waitlist', wanted: (message: any) => boolean) {
    return eventually(() => {
      const found = this.of(type).find(wanted);
      assert.ok(found, `not heard yet; of ${type} only ${JSON.stringify(this.of(type).slice(-5))}`);
      return found;
    });
  }

  async close(): Promise<void> {
    if (this.closeCode !== undefined) return;
    this.socket.close();
    await eventually(() => assert.notEqual(this.closeCode, undefined));
  }
}

export async function watch(
  frontEnd: { url: string },
  saleId: string,
  choices: WatchChoices = {},
): Promise<LiveWatcher> {
  const socket = new WebSocket(`${frontEnd.url.replace('http', 'ws')}/v1/sales/${saleId}/live`, {
    ...(choices.protocols ? { protocols: choices.protocols } : {}),
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

/** Asks for an upgrade and returns what is answered instead, or 101. */
export async function refusedUpgrade(
  frontEnd: { url: string },
  saleId: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; code: string | undefined; headers: Record<string, unknown> }> {
  const asking = request(`${frontEnd.url}/v1/sales/${saleId}/live`, {
    agent: false,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    },
  });
  asking.end();
  const upgraded = once(asking, 'upgrade').then(([response, socket]) => {
    socket.destroy();
    return { status: 101, code: undefined, headers: response.headers };
  });
  const answered = once(asking, 'response').then(async ([response]) => {
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { status: response.statusCode, code: JSON.parse(text).code, headers: response.headers };
  });
  // The one that does not come true ends with the connection.
  upgraded.catch(() => undefined);
  answered.catch(() => undefined);
  return Promise.race([upgraded, answered]);
}
