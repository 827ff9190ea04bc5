/**
 * The dashboards of bench/dashboards.ts in their own process: open streams of admin that count events.
 *
 * Messages from the parent: {adminUrl, token, saleId, count} opens streams, half of them of the overview, half of the sale;
 * `report` returns the events since the last report; `close`.
 */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';

interface Requested {
  adminUrl: string;
  token: string;
  saleId: string;
  count: number;
}

const OPENING_AT_ONCE = 50;

const streams: IncomingMessage[] = [];
let events = 0;

process.on('message', (requested: Requested | 'report' | 'close') => {
  if (requested === 'report') {
    process.send?.(events);
    events = 0;
  } else if (requested === 'close') {
    for (const stream of streams) stream.destroy();
    process.disconnect();
  } else {
    void openAll(requested).then(() => process.send?.('open'));
  }
});

async function openAll({ adminUrl, token, saleId, count }: Requested): Promise<void> {
  const headers = { authorization: `Bearer ${token}` };
  while (streams.length < count) {
    const some = Math.min(OPENING_AT_ONCE, count - streams.length);
    await Promise.all(
      Array.from({ length: some }, async (_, index) => {
        const query = index % 2 === 0 ? '' : `?saleId=${saleId}`;
        const request = get(`${adminUrl}/dashboard/live${query}`, { headers, agent: false });
        const [stream] = (await once(request, 'response')) as [IncomingMessage];
        if (stream.statusCode !== 200) throw new Error(`a dashboard got ${stream.statusCode}`);
        stream.on('error', () => undefined);
        stream.on('data', (chunk: Buffer) => {
          // Each event ends with an empty line.
          if (chunk.at(-1) === 10 && chunk.at(-2) === 10) events++;
        });
        streams.push(stream);
      }),
    );
  }
}
