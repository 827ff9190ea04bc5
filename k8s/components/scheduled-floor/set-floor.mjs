/**
 * Sets `minReplicas` of the autoscaler `hot-path` to FLOOR, from within the cluster. It uses the engine's image, which
 * has Node and no kubectl, and trusts the cluster's authority by NODE_EXTRA_CA_CERTS. Exits with 1 if the API server refuses.
 */
import { readFileSync } from 'node:fs';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port, FLOOR } = process.env;
const namespace = readFileSync(`${ACCOUNT}/namespace`, 'utf8').trim();

const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
const path = `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/hot-path`;
const response = await fetch(server + path, {
  method: 'PATCH',
  headers: {
    authorization: `Bearer ${readFileSync(`${ACCOUNT}/token`, 'utf8').trim()}`,
    'content-type': 'application/merge-patch+json',
  },
  body: JSON.stringify({ spec: { minReplicas: Number(FLOOR) } }),
  signal: AbortSignal.timeout(10_000),
});
const { message = `minReplicas is ${FLOOR}` } = await response.json();
console.log(`${response.status}: ${message}`);
process.exitCode = response.ok ? 0 : 1;
