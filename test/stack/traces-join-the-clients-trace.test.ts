/**
 * With OpenTelemetry's standard variables, every process sends spans to a collector, and they belong to the trace that the
 * client's `traceparent` names. Without them nothing of OpenTelemetry is loaded.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE, type Scope, use } from '../../harness/use.ts';
import { readAdminConfig } from '../../src/config.ts';
import { createLogger } from '../../src/process/logger.ts';
import { startTracing } from '../../src/process/tracing/start-tracing.ts';

interface Span {
  name: string;
  service: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  attributes: Record<string, string | number>;
}

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const CLIENT_SPAN = '00f067aa0ba902b7';
const TRACEPARENT = `00-${TRACE_ID}-${CLIENT_SPAN}-01`;

const { redis, database, servers } = await useServers(FILE);
const collector = await useCollector(FILE);
const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
// Spans leave when the process closes, or after this time.
process.env.OTEL_BSP_SCHEDULE_DELAY = '100';

test('purchase, script call, write batch and admin request are spans of one trace', async (t) => {
  const { saleId } = await makeSale(servers);
  const hotPath = await useHotPath(t, redis.url, environment);
  const persister = await usePersister(t, redis.url, database.url, {}, environment);
  const tracing = await use(t, async () => {
    const config = readAdminConfig({ ...environment, ADMIN_TOKENS: `operator:${'x'.repeat(16)}` });
    return (await startTracing('admin', config, createLogger('test', 'silent')))!;
  });
  const admin = await useApp(t, servers, { tracing });
  const headers = { traceparent: TRACEPARENT, 'x-request-id': 'web-7' };
  const { body } = await hotPath.buy(saleId, 'ada', { headers });
  const path = `POST /reservations/${body.reservationId}/confirm`;
  assert.equal((await callAdmin(admin, path, { body: {}, headers })).status, 200);
  await hotPath.buy(saleId, 'bob', { headers: { traceparent: `${TRACEPARENT.slice(0, -2)}00` } });
  const spans = await eventually(() => {
    const found = collector.spans.filter(({ traceId }) => traceId === TRACE_ID);
    const names = new Set(found.map(({ name }) => name));
    assert.deepEqual([...names].sort(), [
      'POST /admin/v1/reservations/:reservationId/confirm',
      'POST /v1/sales/{saleId}/buy',
      'reserve.lua',
      'write batch',
    ]);
    return found;
  });
  const [purchase, ...others] = spans.filter(({ name }) => name === 'POST /v1/sales/{saleId}/buy');
  assert.equal(others.length, 0, 'the client did not want the second one');
  assert.deepEqual(
    [purchase!.service, purchase!.parentSpanId, purchase!.attributes['flash_sale.request_id']],
    ['flash-sale-hot-path', CLIENT_SPAN, 'web-7'],
  );
  assert.equal(purchase!.attributes['http.response.status_code'], 201);
  const call = spans.find(({ name }) => name === 'reserve.lua');
  assert.equal(call!.parentSpanId, purchase!.spanId);
  const written = spans.find(({ name }) => name === 'write batch');
  assert.deepEqual(
    [written!.service, written!.parentSpanId],
    ['flash-sale-persister', CLIENT_SPAN],
  );
  assert.ok(!collector.spans.some(({ name }) => /metrics|readyz/.test(name)));
  await persister.close();
});

test('without a collector the process serves, and closes quickly', async (t) => {
  const { saleId } = await makeSale(servers);
  const hotPath = await useHotPath(t, redis.url, {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
  });
  assert.equal((await hotPath.buy(saleId, 'ada')).status, 201);
});

test('traces are off by default, and by each of the variables', async () => {
  const start = (variables: Record<string, string>) =>
    startTracing(
      'test',
      readAdminConfig({ ...variables, ADMIN_TOKENS: `operator:${'x'.repeat(16)}` }),
      createLogger('test', 'silent'),
    );
  assert.equal(await start({}), undefined);
  assert.equal(await start({ ...environment, OTEL_SDK_DISABLED: 'true' }), undefined);
  assert.equal(await start({ ...environment, OTEL_TRACES_EXPORTER: 'none' }), undefined);
  assert.throws(
    () =>
      readAdminConfig({ OTEL_TRACES_SAMPLER: 'sometimes', OTEL_EXPORTER_OTLP_ENDPOINT: 'here' }),
    /OTEL_EXPORTER_OTLP_ENDPOINT: must be an http[\s\S]*OTEL_TRACES_SAMPLER/,
  );
});

/** Receives OTLP over HTTP in JSON. */
function useCollector(scope: Scope): Promise<{ url: string; spans: Span[]; close(): void }> {
  return use(scope, async () => {
    const spans: Span[] = [];
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (request.url === '/v1/traces') spans.push(...spansIn(Buffer.concat(chunks).toString()));
        response.setHeader('Content-Type', 'application/json').end('{}');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      spans,
      close() {
        server.close();
        server.closeAllConnections();
      },
    };
  });
}

interface Attribute {
  key: string;
  value: { stringValue?: string; intValue?: number };
}

interface Export {
  resourceSpans: {
    resource: { attributes: Attribute[] };
    scopeSpans: { spans: (Omit<Span, 'attributes' | 'service'> & { attributes: Attribute[] })[] }[];
  }[];
}

function spansIn(json: string): Span[] {
  return (JSON.parse(json) as Export).resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(valuesOf(resource.attributes)['service.name']);
    return scopeSpans
      .flatMap((scope) => scope.spans)
      .map((span) => ({ ...span, service, attributes: valuesOf(span.attributes) }));
  });
}

function valuesOf(attributes: readonly Attribute[]): Record<string, string | number> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]),
  );
}
