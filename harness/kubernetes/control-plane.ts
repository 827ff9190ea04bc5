/**
 * A real Kubernetes control plane as plain processes on loopback: etcd, API server, controllers and scheduler. It has no
 * nodes: pods stay pending until a caller registers nodes and runs them, as bench/autoscale/ does.
 */
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { findFreePorts } from '../../src/process/free-port.ts';
import { ServerProcess } from '../servers/server-process.ts';
import { type Scope, use } from '../use.ts';
import { buildKubernetes, type KubernetesProgram, pathOf } from './build.ts';

export interface ControlPlane {
  /** A file that gives all rights. */
  kubeconfig: string;
  /** Its standard output. Rejects with kubectl's own words. */
  kubectl: (args: readonly string[], input?: string) => Promise<string>;
  stop(): Promise<void>;
}

export function useControlPlane(scope: Scope): Promise<ControlPlane> {
  return use(scope, startControlPlane);
}

async function startControlPlane(): Promise<ControlPlane> {
  buildKubernetes();
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-control-plane-'));
  const at = (name: string) => join(directory, name);
  const [etcdPort, peerPort, apiPort, managerPort, schedulerPort] = (await findFreePorts(5)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const token = randomBytes(16).toString('hex');
  writeFileSync(at('tokens.csv'), `${token},admin,1,"system:masters"\n`);
  writeFileSync(at('kubeconfig'), kubeconfigOf(apiPort, token));
  // Signs the tokens of service accounts.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  writeFileSync(at('accounts.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }));

  const started: ServerProcess[] = [];
  const stop = async () => {
    for (const server of started.toReversed()) await server.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  const start = async (command: string, flags: object, isReady: () => Promise<boolean>) => {
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    // Nobody reads their data again, so no graceful shutdown is needed.
    started.push(await ServerProcess.start({ command, args, stopSignal: 'SIGKILL', isReady }));
  };
  const startProgram = (program: KubernetesProgram, flags: object, port: number, path: string) =>
    start(pathOf(program), flags, () => isServing(port, path));
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const loopback = { 'bind-address': '127.0.0.1' };
  try {
    await start(
      'etcd',
      {
        'data-dir': at('etcd'),
        'listen-client-urls': etcdUrl,
        'advertise-client-urls': etcdUrl,
        'listen-peer-urls': peerUrl,
        'initial-advertise-peer-urls': peerUrl,
        'initial-cluster': `default=${peerUrl}`,
      },
      async () => (await fetch(`${etcdUrl}/health`)).ok,
    );
    await startProgram(
      'kube-apiserver',
      {
        ...loopback,
        'etcd-servers': etcdUrl,
        'secure-port': apiPort,
        'cert-dir': at('certificates'),
        'service-cluster-ip-range': '10.96.0.0/16',
        'service-account-issuer': 'https://localhost',
        'service-account-key-file': at('accounts.key'),
        'service-account-signing-key-file': at('accounts.key'),
        'authorization-mode': 'RBAC',
        'token-auth-file': at('tokens.csv'),
      },
      apiPort,
      '/readyz',
    );
    const client = { ...loopback, kubeconfig: at('kubeconfig'), 'leader-elect': false };
    const manager = {
      'secure-port': managerPort,
      'service-account-private-key-file': at('accounts.key'),
      'cert-dir': at('certificates'),
    };
    await startProgram(
      'kube-controller-manager',
      { ...client, ...manager },
      managerPort,
      '/healthz',
    );
    const scheduler = { 'secure-port': schedulerPort, 'cert-dir': at('certificates') };
    await startProgram('kube-scheduler', { ...client, ...scheduler }, schedulerPort, '/healthz');
  } catch (error) {
    await stop();
    throw error;
  }
  const kubectl = (args: readonly string[], input = '') =>
    new Promise<string>((resolve, reject) => {
      const child = execFile(
        pathOf('kubectl'),
        ['--kubeconfig', at('kubeconfig'), ...args],
        { maxBuffer: 2 ** 26 },
        (error, stdout, stderr) =>
          error ? reject(new Error(`kubectl ${args.join(' ')}: ${stderr}`)) : resolve(stdout),
      );
      child.stdin!.end(input);
    });
  return { kubeconfig: at('kubeconfig'), kubectl, stop };
}

/** The servers sign their certificates themselves, so no authority vouches for them. */
const UNCHECKED = new Agent({ connect: { rejectUnauthorized: false } });

async function isServing(port: number, path: string): Promise<boolean> {
  const response = await request(`https://127.0.0.1:${port}${path}`, { dispatcher: UNCHECKED });
  await response.body.dump();
  return response.statusCode === 200;
}

function kubeconfigOf(port: number, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'local',
        cluster: { server: `https://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true },
      },
    ],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'local', context: { cluster: 'local', user: 'admin' } }],
    'current-context': 'local',
  });
}
