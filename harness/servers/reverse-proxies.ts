/** A real nginx or HAProxy with the configuration of `deploy/`, of which only addresses are replaced. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { type Scope, use } from '../use.ts';
import { asTestServer, ServerProcess, type TestServer } from './server-process.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');

export interface ReverseProxy extends TestServer {
  /** Where buyers connect. */
  buyersUrl: string;
  /** Where operators connect. */
  operatorsUrl: string;
}

/** Ports of the loopback interface. */
export interface Upstreams {
  hotPaths: readonly number[];
  admin: number;
}

export const REVERSE_PROXIES = {
  nginx: {
    file: 'nginx/flash-sale.conf',
    argumentsOf: (path: string, directory: string) => [
      '-p',
      directory,
      '-c',
      wrapperOf(path, directory),
    ],
    stopSignal: 'SIGTERM',
  },
  haproxy: {
    file: 'haproxy/haproxy.cfg',
    argumentsOf: (path: string) => ['-db', '-f', path],
    stopSignal: 'SIGTERM',
  },
} as const;
export type ReverseProxyName = keyof typeof REVERSE_PROXIES;

/** `edit` changes the configuration further. */
export function useReverseProxy(
  scope: Scope,
  name: ReverseProxyName,
  upstreams: Upstreams,
  edit: (configuration: string) => string = (configuration) => configuration,
): Promise<ReverseProxy> {
  return use(scope, () => startReverseProxy(name, upstreams, edit));
}

async function startReverseProxy(
  name: ReverseProxyName,
  upstreams: Upstreams,
  edit: (configuration: string) => string,
): Promise<ReverseProxy> {
  const command = findProgram(name);
  if (!command) throw new Error(`${name} is not installed; npm test installs it`);
  const { file, argumentsOf, stopSignal } = REVERSE_PROXIES[name];
  const directory = mkdtempSync(join(tmpdir(), `flash-sale-test-${name}-`));
  const [buyers, operators] = (await findFreePorts(2)) as [number, number];
  const path = join(directory, 'proxy.conf');
  const shipped = readFileSync(join(DEPLOY, file), 'utf8');
  writeFileSync(path, edit(withAddresses(shipped, upstreams, { buyers, operators })));
  const buyersUrl = `http://127.0.0.1:${buyers}`;
  const proxy = await ServerProcess.start({
    command,
    args: argumentsOf(path, directory),
    stopSignal,
    // The proxy itself refuses this path.
    isReady: async () => (await fetch(`${buyersUrl}/metrics`)).status === 404,
  });
  return Object.assign(asTestServer(proxy, buyersUrl, buyers, directory), {
    buyersUrl,
    operatorsUrl: `http://127.0.0.1:${operators}`,
  });
}

/** Each address must be there, or the test would use the wrong ports. */
function withAddresses(
  shipped: string,
  { hotPaths, admin }: Upstreams,
  listen: { buyers: number; operators: number },
): string {
  const replaced = shipped
    .replaceAll(/^ *server .*127\.0\.0\.1:8080.*$/gm, (server) =>
      hotPaths
        .map((port, index) =>
          server.replace('8080', String(port)).replace('hot-path-1', `hot-path-${index + 1}`),
        )
        .join('\n'),
    )
    .replace('127.0.0.1:8081', `127.0.0.1:${admin}`)
    .replace(/^( *(?:listen |bind :))80(;?)$/m, `$1${listen.buyers}$2`)
    .replace(/^( *(?:listen |bind :))8443(;?)$/m, `$1${listen.operators}$2`);
  return replaced
    .replaceAll(/bind :(\d+)/g, 'bind 127.0.0.1:$1')
    .replaceAll(/listen (\d+)/g, 'listen 127.0.0.1:$1');
}

/** The configuration of `deploy/` is included in the `http` block of this one, as nginx.conf of a package does it. */
function wrapperOf(path: string, directory: string): string {
  const wrapper = join(directory, 'nginx.conf');
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(directory, kind)};`,
  );
  writeFileSync(
    wrapper,
    `daemon off;
pid ${join(directory, 'nginx.pid')};
error_log stderr;
events { worker_connections 2048; }
http {
  access_log off;
  ${paths.join('\n  ')}
  include ${path};
}
`,
  );
  return wrapper;
}
