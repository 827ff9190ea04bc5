/**
 * The subscribers of bench/live.ts in their own process. They are bare sockets that count frames and keep the last one,
 * because they share the machine with the measured process.
 *
 * Messages from the parent: {port, saleId, count} opens subscriptions; `report` returns {messages, last: [text,
 * count][]}; `close`.
 */
import { connect, type Socket } from 'node:net';

const OPENING_AT_ONCE = 100;

interface Watching {
  socket: Socket;
  last: string;
}

const watching: Watching[] = [];
let messages = 0;

process.on('message', (requested: { port: number; saleId: string; count: number } | string) => {
  if (requested === 'report') {
    const last = Map.groupBy(watching, (each) => each.last);
    process.send?.({ messages, last: [...last].map(([text, those]) => [text, those.length]) });
    messages = 0;
  } else if (requested === 'close') {
    for (const { socket } of watching) socket.destroy();
    process.disconnect();
  } else if (typeof requested === 'object') {
    void openAll(requested).then(() => process.send?.('open'));
  }
});

async function openAll(requested: { port: number; saleId: string; count: number }): Promise<void> {
  while (watching.length < requested.count) {
    const some = Math.min(OPENING_AT_ONCE, requested.count - watching.length);
    await Promise.all(Array.from({ length: some }, () => open(requested.port, requested.saleId)));
  }
}

function open(port: number, saleId: string): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const each: Watching = { socket, last: '' };
  watching.push(each);
  socket.write(
    `GET /v1/sales/${saleId}/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      const text = chunk.toString('latin1');
      const at = text.lastIndexOf('{"type":"sale"');
      if (at === -1) return;
      messages++;
      each.last = /"remaining":(\d+)/.exec(text.slice(at))?.[1] ?? '';
      resolve();
    });
  });
}
