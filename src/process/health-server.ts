/** The HTTP server for `/healthz`, `/readyz` and `/metrics` in a process that has no other one. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { Fault } from '../domain/fault.ts';
import { http } from './node-http.ts';

interface HealthServer {
  port: number;
  close(): Promise<void>;
}

/** @throws Fault port_taken */
export async function serveHealth(options: {
  host: string;
  port: number;
  portVariable: string;
  metrics: Registry;
  /** Names what this process still needs to do its work. */
  unready: () => string[];
  /** Why, where more is known than the name. */
  reasons: () => string[];
}): Promise<HealthServer> {
  const server = http.createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/metrics') {
      options.metrics.metrics().then(
        (text) => response.setHeader('Content-Type', options.metrics.contentType).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
      return;
    }
    const isReadiness = path === '/readyz';
    const missing = isReadiness ? options.unready() : [];
    const known = isReadiness || path === '/healthz';
    response
      .writeHead(known ? (missing.length > 0 ? 503 : 200) : 404, {
        'Content-Type': 'application/json',
      })
      .end(JSON.stringify(healthBody(missing, isReadiness ? options.reasons() : [])));
  });
  await listen(server, options.port, options.host, options.portVariable);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The body of `/healthz` and `/readyz`, the same in every process. */
export function healthBody(
  missing: readonly string[],
  reasons: readonly string[] = [],
): { status: 'ok' | 'unready'; missing: readonly string[]; reasons?: readonly string[] } {
  const status = missing.length > 0 ? 'unready' : 'ok';
  return reasons.length > 0 ? { status, missing, reasons } : { status, missing };
}

export function portTaken(host: string, port: number, variable: string, cause?: unknown): Fault {
  return new Fault(
    'port_taken',
    `Port ${port} on ${host} is taken by another program. Stop it, or choose another port: ${variable}=${port + 10}.`,
    { cause },
  );
}

function listen(server: Server, port: number, host: string, variable: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? portTaken(host, port, variable, error) : error);
    });
    server.listen(port, host, () => resolve());
  });
}
