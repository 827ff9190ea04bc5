/**
 * Requests made from the OpenAPI document, right ones and nearly right ones, to both APIs as they run in earnest: each
 * answer must have a status that the document names for that operation, and a body of the type and shape that it
 * describes. `npm run fuzz` has somebody else's tool ask for much more of the same.
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
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { BUYER_OPERATIONS } from '../../src/api/buyer-operations.ts';

const SEED = Number(process.env.TEST_SEED ?? 1);
const REQUESTS_PER_OPERATION = 40;

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

/** Finds what the document says an answer must look like. */
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

interface Asked {
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

function requestsTo(path: string, operation: Operation): fc.Arbitrary<Asked> {
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
      if (where === 'path')
        filled = filled.replace(`{${name}}`, encodeURIComponent(wellFormed(value)) || '-');
      else if (where === 'query') query.set(name, value);
      else if (name !== 'authorization') headers[name] = value.replaceAll(/[^\x20-\x7e]/g, '?');
    }
    const search = query.size > 0 ? `?${query.toString()}` : '';
    return { path: `${filled}${search}`, headers, body: sent };
  });
}

/** Half a surrogate pair can not be said in a URL. */
function wellFormed(text: string): string {
  return text.replaceAll(/\p{Cs}/gu, '?');
}

async function assertAsDocumented(path: string, method: string, asked: Asked): Promise<void> {
  const isBuyers = path.startsWith('/v1/');
  const { url } = isBuyers ? engine.hotPath : engine.admin;
  const { statusCode, headers, body } = await request(url + asked.path, {
    method: method.toUpperCase() as 'GET',
    headers: {
      ...asked.headers,
      authorization: `Bearer ${isBuyers ? engine.buyerToken : engine.operatorToken}`,
      ...(asked.body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: asked.body ?? null,
  });
  const text = await body.text();
  const { responses } = document.paths[path]![method]!;
  const documented = responses[statusCode];
  const heard = `${method} ${asked.path} ${asked.body ?? ''} -> ${statusCode} ${text.slice(0, 500)}`;
  assert.ok(documented, `no such status is documented: ${heard}`);
  assert.ok(headers['x-request-id'], heard);
  if (statusCode === 429 || statusCode === 503) assert.ok(headers['retry-after'], heard);
  if (!documented.content) return assert.equal(text, '', heard);
  const contentType = String(headers['content-type']).split(';')[0]!;
  assert.ok(
    documented.content[contentType],
    `no such type is documented: ${contentType}: ${heard}`,
  );
  const validate = validators.of(path, method, statusCode, contentType);
  const value: unknown = contentType.includes('json') ? JSON.parse(text) : text;
  assert.ok(validate(value), `${JSON.stringify(validate.errors)}: ${heard}`);
}

test('buyers’ and operators’ operations, with what is right and what is nearly right', async (t) => {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  assert.ok(operations.length > BUYER_OPERATIONS.length);
  for (const { path, method, operation } of operations) {
    await t.test(operation.operationId, async () => {
      await fc.assert(
        fc.asyncProperty(requestsTo(path, operation), (asked) =>
          assertAsDocumented(path, method, asked),
        ),
        { numRuns: REQUESTS_PER_OPERATION, seed: SEED },
      );
    });
  }
});

test('nothing that either process had to complain of', () => {
  assert.deepEqual(engine.complaints, []);
});
