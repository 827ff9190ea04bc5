/** The manifests name each other and the configuration in many places; a name that is wrong in one must be noticed. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { composeComplaints } from '../../scripts/manifests/compose-references.ts';
import { kubernetesComplaints } from '../../scripts/manifests/kubernetes-references.ts';
import { VARIABLES } from '../../src/config.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8');
const listed = new Set(
  [...read('.env.example').matchAll(/^([A-Z0-9_]+)=/gm)].map((match) => match[1]!),
);

interface Slip {
  what: string;
  file: string;
  from: string;
  to: string;
  complaint: RegExp;
}

/** The text of a file with one slip in it; the slip must be possible, or the test would prove nothing. */
function withSlip(text: string, { from, to }: Slip): string {
  assert.ok(text.includes(from), `"${from}" is not there to be changed`);
  return text.replace(from, to);
}

const complainOfCompose = (text: string) =>
  composeComplaints(text, { variables: VARIABLES, listed });

const complainOfKubernetes = (files: Map<string, string>) =>
  kubernetesComplaints(
    new Map(
      [...files].map(([file, text]) => [
        file,
        parseAllDocuments(text).map((document): unknown => document.toJS()),
      ]),
    ),
    { variables: VARIABLES, imageUser: 1000 },
  );

describe('docker-compose.yml', () => {
  it('agrees with the code and with itself', () => {
    assert.deepEqual(complainOfCompose(read('docker-compose.yml')), []);
  });

  const slips: Omit<Slip, 'file'>[] = [
    {
      what: 'a variable that nobody reads',
      from: 'HOT_PATH_WORKERS:',
      to: 'HOT_PATH_PROCESSES:',
      complaint: /^hot-path: sets HOT_PATH_PROCESSES/,
    },
    {
      what: 'a variable that .env.example does not have',
      from: `\${REDIS_MAXMEMORY`,
      to: `\${REDIS_MEMORY`,
      complaint: /REDIS_MEMORY.* is not in \.env\.example/,
    },
    {
      what: 'a host that is no service',
      from: 'redis://redis:6379',
      to: 'redis://cache:6379',
      complaint: /^hot-path: REDIS_URL names cache/,
    },
    {
      what: 'a health check at a port where nobody listens',
      from: '127.0.0.1:8082/readyz',
      to: '127.0.0.1:8080/readyz',
      complaint: /^persister: its health check asks port 8080/,
    },
    {
      what: 'an API that is published to everyone',
      from: `\${PUBLISH_ON:-127.0.0.1}:\${ADMIN_PORT:-8081}`,
      to: `\${ADMIN_PORT:-8081}`,
      complaint: /^admin: publishes .* not on the loopback address/,
    },
    {
      what: 'a Redis that may evict stock',
      from: 'noeviction',
      to: 'allkeys-lru',
      complaint: /maxmemory-policy is not noeviction/,
    },
  ];
  for (const slip of slips) {
    it(`does not get away with ${slip.what}`, () => {
      const complaints = complainOfCompose(
        withSlip(read('docker-compose.yml'), { ...slip, file: 'docker-compose.yml' }),
      );
      assert.ok(
        complaints.some((complaint) => slip.complaint.test(complaint)),
        complaints.join('\n'),
      );
    });
  }
});

describe('k8s/', () => {
  const texts = new Map(
    readdirSync(join(REPOSITORY, 'k8s'))
      .filter((file) => file.endsWith('.yaml'))
      .map((file) => [file, read(join('k8s', file))]),
  );
  it('agrees with the code and with itself', () => {
    assert.deepEqual(complainOfKubernetes(texts), []);
  });

  const slips: Slip[] = [
    {
      what: 'an autoscaler of a Deployment that does not exist',
      file: 'hpa.yaml',
      from: 'kind: Deployment\n    name: hot-path',
      to: 'kind: Deployment\n    name: hotpath',
      complaint: /there is no Deployment hotpath/,
    },
    {
      what: 'a number of replicas that fights the autoscaler',
      file: 'hot-path.yaml',
      from: 'spec:\n  # No `replicas`',
      to: 'spec:\n  replicas: 3\n  # No `replicas`',
      complaint: /each apply would undo the scaling/,
    },
    {
      what: 'a Service at a port that the pods do not have',
      file: 'admin.yaml',
      from: 'targetPort: http',
      to: 'targetPort: web',
      complaint: /^Service admin: its pods have no port web/,
    },
    {
      what: 'a Service that selects nobody',
      file: 'hot-path.yaml',
      from: 'selector: { app.kubernetes.io/name: hot-path }',
      to: 'selector: { app.kubernetes.io/name: buyers }',
      complaint: /^Service hot-path: selects the pods of 0 workloads/,
    },
    {
      what: 'a variable that the process does not read',
      file: 'configmap.yaml',
      from: 'LOG_LEVEL:',
      to: 'LOGLEVEL:',
      complaint: /sets LOGLEVEL, which hot-path does not read/,
    },
    {
      what: 'a key that the secret does not have',
      file: 'hot-path.yaml',
      from: 'key: JWT_SECRET',
      to: 'key: JWT',
      complaint: /Secret flash-sale has no JWT /,
    },
    {
      what: 'a password that is used above where it is set',
      file: 'persister.yaml',
      from: `postgres://flash_sale:$(POSTGRES_PASSWORD)`,
      to: `postgres://flash_sale:$(PG_PASSWORD)`,
      complaint: /uses PG_PASSWORD, which is not set above it/,
    },
    {
      what: 'Service links, which set HOT_PATH_PORT to a URL',
      file: 'hot-path.yaml',
      from: 'enableServiceLinks: false',
      to: 'enableServiceLinks: true',
      complaint: /enableServiceLinks is on/,
    },
    {
      what: 'a grace period that ends before closing does',
      file: 'hot-path.yaml',
      from: 'terminationGracePeriodSeconds: 30',
      to: 'terminationGracePeriodSeconds: 15',
      complaint: /is killed before preStop and closing can be over/,
    },
    {
      what: "a user that is not the image's",
      file: 'admin.yaml',
      from: 'runAsUser: 1000',
      to: 'runAsUser: 1001',
      complaint: /runs as another user/,
    },
    {
      what: 'secrets from the example',
      file: 'kustomization.yaml',
      from: '  - configmap.yaml',
      to: '  - configmap.yaml\n  - secret.example.yaml',
      complaint: /applies secret\.example\.yaml/,
    },
    {
      what: 'a Redis that acknowledges before it has written',
      file: 'redis.yaml',
      from: '- always',
      to: '- everysec',
      complaint: /appendfsync is not always/,
    },
  ];
  for (const slip of slips) {
    it(`does not get away with ${slip.what}`, () => {
      const broken = new Map(texts).set(slip.file, withSlip(texts.get(slip.file)!, slip));
      const complaints = complainOfKubernetes(broken);
      assert.ok(
        complaints.some((complaint) => slip.complaint.test(complaint)),
        complaints.join('\n'),
      );
    });
  }
});
