/** Finds free ports, and checks before a start that requested ports are free. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { Fault } from '../domain/fault.ts';

/**
 * Below the range of ephemeral ports on Linux and macOS. Otherwise one of the thousands of buyers' connections could
 * occupy the port of a server while that server restarts.
 */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_767;

/** Returns distinct free ports on the loopback interface. */
export async function findFreePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1);
    if (!ports.has(port) && (await whyNotFree(port, '127.0.0.1')) === undefined) ports.add(port);
  }
  return [...ports];
}

/** A port that a variable requests; 0 stands for any. */
interface RequestedPort {
  variable: string;
  port: number;
  host: string;
}

/**
 * Must run before anything starts: uWebSockets.js listens with SO_REUSEPORT and would silently share a taken port with
 * its owner. The other program would then receive half of the buyers.
 *
 * @throws Fault port_taken that names every port that is not free
 */
export async function requireFreePorts(
  requested: readonly RequestedPort[],
  command: string,
): Promise<void> {
  const mistakes: string[] = [];
  for (const { variable, port, host } of requested) {
    if (port === 0) continue;
    const reason = await whyNotFree(port, host);
    if (reason === undefined) continue;
    const other = port + 10 > 65_535 ? port - 10 : port + 10;
    mistakes.push(
      `${host}:${port} ${reason}. Choose another port:\n  ${variable}=${other} ${command}\n${variable}=0 takes any free port.`,
    );
  }
  if (mistakes.length > 0) throw new Fault('port_taken', mistakes.join('\n\n'));
}

/** Binds without SO_REUSEPORT, which fails whenever another socket listens there. */
function whyNotFree(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRINUSE' ? 'is taken' : `cannot be used (${error.code})`);
    });
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(undefined)));
  });
}
