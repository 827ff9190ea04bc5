/**
 * Ports: which are free, and what to tell people when the one they want is not.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { Fault } from '../domain/fault.ts';

/**
 * Below the range that Linux and macOS take outgoing connections' ports from: a server that is restarted on such a
 * port could find one of the thousands of buyers' connections sitting on it.
 */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_767;

/** Different free ports on the loopback, as many as asked for. */
export async function findFreePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1);
    if (!ports.has(port) && (await whyNotFree(port, '127.0.0.1')) === undefined) ports.add(port);
  }
  return [...ports];
}

/** A port that somebody asked for by a variable; 0 stands for any. */
export interface RequestedPort {
  variable: string;
  port: number;
  host: string;
}

/**
 * Checks all before anything starts, because uWebSockets.js listens with SO_REUSEPORT and would quietly share a taken
 * port with its owner: half of the buyers would reach somebody else.
 *
 * @throws Fault port_taken that names all that cannot be had.
 */
export async function requireFreePorts(
  wanted: readonly RequestedPort[],
  command: string,
): Promise<void> {
  const complaints: string[] = [];
  for (const { variable, port, host } of wanted) {
    if (port === 0) continue;
    const reason = await whyNotFree(port, host);
    if (reason === undefined) continue;
    const other = port + 10 > 65_535 ? port - 10 : port + 10;
    complaints.push(
      `${host}:${port} ${reason}. Choose another port:\n  ${variable}=${other} ${command}\n${variable}=0 takes any that is free.`,
    );
  }
  if (complaints.length > 0) throw new Fault('port_taken', complaints.join('\n\n'));
}

/** Binds without SO_REUSEPORT, which fails whoever listens there and however. */
function whyNotFree(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRINUSE' ? 'is taken' : `cannot be used (${error.code})`);
    });
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(undefined)));
  });
}
