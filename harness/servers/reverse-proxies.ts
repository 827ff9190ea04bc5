/** A real nginx or HAProxy with the configuration of `deploy/`, of which only addresses are replaced. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { type Scope, use } from '../use.ts';
import type { Certificates } from './certificates.ts';
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

export interface ReverseProxyChoices {
  /** With them, the commented lines for TLS are uncommented, and both URLs lead to `https://localhost`. */
  certificates?: Certificates;
  /** Changes the configuration further. */
  edit?: (configuration: string) => string;
}

export function useReverseProxy(
  scope: Scope,
  name: ReverseProxyName,
  upstreams: Upstreams,
  choices: ReverseProxyChoices = {},
): Promise<ReverseProxy> {
  return use(scope, () => startReverseProxy(name, upstreams, choices));
}

async function startReverseProxy(
  name: ReverseProxyName,
  upstreams: Upstreams,
  { certificates, edit = (configuration) => configuration }: ReverseProxyChoices,
): Promise<ReverseProxy> {
  const command = findProgram(name);
  if (!command) throw new Error(`${name} is not installed; npm test installs it`);
  const { file, argumentsOf, stopSignal } = REVERSE_PROXIES[name];
  const directory = mkdtempSync(join(tmpdir(), `flash-sale-test-${name}-`));
  const [buyers, operators] = (await findFreePorts(2)) as [number, number];
  const path = join(directory, 'proxy.conf');
  let shipped = readFileSync(join(DEPLOY, file), 'utf8');
  if (certificates) shipped = withTls(shipped, certificates, directory);
  writeFileSync(path, edit(withAddresses(shipped, upstreams, { buyers, operators })));
  const urlOf = (port: number) =>
    certificates ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  const buyersUrl = urlOf(buyers);
  const proxy = await ServerProcess.start({
    command,
    args: argumentsOf(path, directory),
    stopSignal,
    isReady: () => accepts(buyers),
  });
  return Object.assign(asTestServer(proxy, buyersUrl, buyers, directory), {
    buyersUrl,
    operatorsUrl: urlOf(operators),
  });
}

/** As an operator does it: whole lines are uncommented, and the lines above them that listen without TLS are deleted. */
function withTls(shipped: string, certificates: Certificates, directory: string): string {
  const { certificate, key } = certificates;
  const both = join(directory, 'shop.pem');
  writeFileSync(both, readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8'));
  return shipped
    .replaceAll(/^ *(?:listen|bind) \S+\n(?= *# (?:listen|bind) )/gm, '')
    .replaceAll(/^( *)# ((?:listen|bind|ssl_\w+) .*)$/gm, '$1$2')
    .replaceAll('/etc/ssl/shop.crt', certificate)
    .replaceAll('/etc/ssl/shop.key', key)
    .replaceAll('/etc/ssl/shop.pem', both);
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
    .replace(/^( *(?:listen |bind :))(?:80|443)(;| |$)/m, `$1${listen.buyers}$2`)
    .replace(/^( *(?:listen |bind :))(?:8090|8443)(;| |$)/m, `$1${listen.operators}$2`);
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

/** Resolves when a connection is accepted. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } finally {
    socket.destroy();
  }
}
