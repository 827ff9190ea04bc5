/**
 * Valid and nearly valid requests, generated from the OpenAPI document, to both APIs in processes of their own. Each
 * response must have a status, a content type and a body that the document describes for its operation. `npm run fuzz`
 * does more of the same with an external tool.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { request } from 'undici';
import {
  arbitraryOf,
  type JsonSchema,
  nearlyOf,
} from '../../harness/hostile/arbitrary-of-schema.ts';
import { useHostileEngine } from '../../harness/hostile/hostile-engine.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { BUYER_OPERATIONS } from '../../src/api/buyer-operations.ts';

const SEED = Number(process.env.TEST_SEED ?? 1);
const REQUESTS_PER_OPERATION = IS_LONG_RUN ? 50 : 10;

interface Operation {
  operationId: string;
  parameters?: {
    name: string;
    in: 'path' | 'query' | 'header';
    required?: boolean;
    schema: JsonSchema;
  }[];
  requestBody?: { required?: boolean; content: Record<string, { schema: JsonSchema }> };
  responses: Record<string, { content?: Record<string, { schema: JsonSchema }> }>;
}
interface Document {
  paths: Record<string, Record<string, Operation>>;
}

const { redis, database } = await useServers(FILE);
const engine = await useHostileEngine(
  FILE,
  { redisUrl: redis.url, postgresUrl: database.url },
  { BUYER_REQUESTS_PER_SECOND: '0' },
);
const document = (await (await fetch(`${engine.admin.url}/openapi.json`)).json()) as Document;

/** Compiles the schema of a response from the document. */
class Validators {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(described: Document) {
    addFormats.default(this.#ajv);
    this.#ajv.addSchema(described, 'document');
  }

  of(path: string, method: string, status: number, contentType: string): ValidateFunction {
    const pointer = ['paths', path, method, 'responses', status, 'content', contentType, 'schema']
      .map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/');
    const compiled =
      this.#compiled.get(pointer) ?? this.#ajv.compile({ $ref: `document#/${pointer}` });
    this.#compiled.set(pointer, compiled);
    return compiled;
  }
}
const validators = new Validators(document);

const resolve = (reference: string): JsonSchema =>
  reference
    .slice(2)
    .split('/')
    .reduce(
      (part: unknown, name) => (part as Record<string, unknown>)[name],
      document,
    ) as JsonSchema;

interface GeneratedRequest {
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

function requestsTo(path: string, operation: Operation): fc.Arbitrary<GeneratedRequest> {
  const parameters = fc.tuple(
    ...(operation.parameters ?? []).map(({ name, in: where, required, schema }) => {
      const known = where === 'path' ? [fc.constantFrom(...engine.idsOf(name))] : [];
      const values = fc.oneof(
        ...known,
        arbitraryOf(schema, resolve),
        fc.string({ unit: 'binary' }),
      );
      return fc.record({
        name: fc.constant(name),
        where: fc.constant(where),
        value: required === true ? values.map(String) : fc.option(values.map(String)),
      });
    }),
  );
  const bodySchema = operation.requestBody?.content['application/json']?.schema;
  const body = bodySchema
    ? fc.option(
        fc
          .oneof(arbitraryOf(bodySchema, resolve), nearlyOf(bodySchema, resolve))
          .map((value) => JSON.stringify(value)),
        { nil: undefined, freq: 20 },
      )
    : fc.constant(undefined);
  return fc.tuple(parameters, body).map(([given, sent]) => {
    let filled = path;
    const query = new URLSearchParams();
    const headers: Record<string, string> = {};
    for (const { name, where, value } of given) {
      if (value === null) continue;
      if (where === 'path') filled = filled.replace(`{${name}}`, pathSegmentOf(value));
      else if (where === 'query') query.set(name, value);
      else if (name !== 'authorization') headers[name] = value.replaceAll(/[^\x20-\x7e]/g, '?');
    }
    const search = query.size > 0 ? `?${query.toString()}` : '';
    return { path: `${filled}${search}`, headers, body: sent };
  });
}

/** A URL cannot name an empty segment, and clients remove the segments `.` and `..`, encoded or not. */
function pathSegmentOf(value: string): string {
  const isLost = ['', '.', '..'].includes(value);
  return isLost ? '-' : encodeURIComponent(wellFormed(value));
}

/** A URL cannot contain half a surrogate pair. */
function wellFormed(text: string): string {
  return text.replaceAll(/\p{Cs}/gu, '?');
}

async function assertAsDocumented(
  path: string,
  method: string,
  sent: GeneratedRequest,
): Promise<void> {
  const isBuyersApi = path.startsWith('/v1/');
  const { url } = isBuyersApi ? engine.hotPath : engine.admin;
  const { statusCode, headers, body } = await request(url + sent.path, {
    method: method.toUpperCase() as 'GET',
    headers: {
      ...sent.headers,
      authorization: `Bearer ${isBuyersApi ? engine.buyerToken : engine.operatorToken}`,
      ...(sent.body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: sent.body ?? null,
  });
  const text = await body.text();
  const { responses } = document.paths[path]![method]!;
  const documented = responses[statusCode];
  const exchange = `${method} ${sent.path} ${sent.body ?? ''} -> ${statusCode} ${text.slice(0, 500)}`;
  assert.ok(documented, `undocumented status: ${exchange}`);
  assert.ok(headers['x-request-id'], exchange);
  if (statusCode === 429 || statusCode === 503) assert.ok(headers['retry-after'], exchange);
  if (!documented.content) return assert.equal(text, '', exchange);
  const contentType = String(headers['content-type']).split(';')[0]!;
  assert.ok(
    documented.content[contentType],
    `undocumented content type: ${contentType}: ${exchange}`,
  );
  const validate = validators.of(path, method, statusCode, contentType);
  const value: unknown = contentType.includes('json') ? JSON.parse(text) : text;
  assert.ok(validate(value), `${JSON.stringify(validate.errors)}: ${exchange}`);
}

test('every operation of buyers and operators responds as documented to valid and nearly valid requests', async (t) => {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      // A stream of events ends with the process.
      .filter(([, { responses }]) => !responses[200]?.content?.['text/event-stream'])
      .map(([method, operation]) => ({ path, method, operation })),
  );
  assert.ok(operations.length > BUYER_OPERATIONS.length);
  for (const { path, method, operation } of operations) {
    await t.test(operation.operationId, async () => {
      await fc.assert(
        fc.asyncProperty(requestsTo(path, operation), (sent) =>
          assertAsDocumented(path, method, sent),
        ),
        { numRuns: REQUESTS_PER_OPERATION, seed: SEED },
      );
    });
  }
});

test('neither process has logged an error', () => {
  assert.deepEqual(engine.errors, []);
});
