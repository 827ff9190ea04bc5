/** An HTTP server that gives prepared responses, one after the other, and keeps the requests. */
import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { http } from '../../src/process/node-http.ts';
import { type Scope, use } from '../use.ts';

export interface ScriptedResponse {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
}

export interface ScriptedServer {
  url: string;
  requests: { atMs: number; headers: IncomingHttpHeaders; body: string }[];
}

/** The last response is repeated. `lost` closes the connection instead. */
export async function useScriptedServer(
  scope: Scope,
  responses: (ScriptedResponse | 'lost')[],
): Promise<ScriptedServer> {
  const requests: ScriptedServer['requests'] = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      requests.push({ atMs: performance.now(), headers: request.headers, body });
      const next = responses[Math.min(requests.length, responses.length) - 1]!;
      if (next === 'lost') {
        request.socket.destroy();
        return;
      }
      response.writeHead(next.status, next.headers);
      response.end(typeof next.body === 'string' ? next.body : JSON.stringify(next.body ?? {}));
    });
  });
  await use(
    scope,
    async () => {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    },
    () => {
      server.close();
      server.closeAllConnections();
    },
  );
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}
