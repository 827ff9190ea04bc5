/**
 * The OpenAPI document of both APIs, generated: the admin's operations from its routes, the buyers' from their
 * table, both through the same plugin and the same schemas that check the requests.
 */
import swagger, { type SwaggerOptions } from '@fastify/swagger';
import Fastify, { type FastifyInstance } from 'fastify';
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod';
import type { OpenAPIV3_1 } from 'openapi-types';
import { BUYER_OPERATIONS } from '../../api/buyer-operations.ts';
import type { ApiOperation, ApiResponse } from '../../api/operation.ts';
import { PROBLEMS, type ProblemCode, retryAfterSecondsOf } from '../../api/problems.ts';
import { serveOperation } from '../http/serve-operation.ts';

export type OpenApiDocument = OpenAPIV3_1.Document;

const SWAGGER_OPTIONS: SwaggerOptions = {
  openapi: {
    openapi: '3.1.0',
    info: {
      title: 'flash-sale',
      version: '1',
      description:
        'Sells exactly what there is, first come, first served. Buyers talk to the hot path, operators and merchants to the admin; every refusal is a problem of RFC 9457 with a stable `code`.',
    },
    tags: [
      { name: 'Buyers', description: 'The hot path: buying, and what one has.' },
      {
        name: 'Operators',
        description: 'The admin: sales, stock, reservations, promises checked.',
      },
      { name: 'Merchants', description: 'The admin, for the shop that takes the payment.' },
      { name: 'Processes', description: 'What every process answers about itself.' },
    ],
    components: {
      securitySchemes: {
        adminToken: {
          type: 'http',
          scheme: 'bearer',
          description:
            'A token of ADMIN_TOKENS; viewers look, merchants also move reservations, operators do everything.',
        },
        buyerToken: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: "BUYER_AUTH=jwt: the buyer's JWT.",
        },
        buyerHeader: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Buyer-Id',
          description: 'BUYER_AUTH=header: the buyer id, set by the gateway in front.',
        },
      },
    },
  },
  transform: jsonSchemaTransform,
  transformObject: jsonSchemaTransformObject,
};

/** Must be registered before the routes that it is to describe. */
export async function describeRoutes(app: FastifyInstance): Promise<void> {
  await app.register(swagger, SWAGGER_OPTIONS);
}

/** The document of everything, once the admin's routes are all there. */
export async function buildDocument(
  app: FastifyInstance,
  adminOperations: readonly ApiOperation[],
): Promise<OpenApiDocument> {
  const admin = app.swagger() as OpenApiDocument;
  const buyers = await buyersDocument();
  const document: OpenApiDocument = {
    ...admin,
    paths: { ...buyers.paths, ...admin.paths },
    components: {
      ...admin.components,
      schemas: { ...buyers.components?.schemas, ...admin.components?.schemas },
    },
  };
  for (const operation of [...adminOperations, ...BUYER_OPERATIONS]) {
    finishOperation(document, operation);
  }
  dropUnusedSchemas(document);
  return document;
}

const HOT_PATH_SERVERS = [
  {
    url: 'http://{host}:{port}',
    description: 'The hot path.',
    variables: { host: { default: '127.0.0.1' }, port: { default: '8080' } },
  },
];

/** Routes that are only described, never served: the hot path serves them, and it is no Fastify. */
async function buyersDocument(): Promise<OpenApiDocument> {
  const described = Fastify();
  described.setValidatorCompiler(validatorCompiler);
  described.setSerializerCompiler(serializerCompiler);
  await described.register(swagger, SWAGGER_OPTIONS);
  for (const operation of BUYER_OPERATIONS as readonly ApiOperation[]) {
    serveOperation(described, operation, () => Promise.reject(new Error('only described')));
  }
  await described.ready();
  const document = described.swagger() as OpenApiDocument;
  await described.close();
  // The page is served by the admin, and these are not: say where they are.
  for (const path of Object.values(document.paths ?? {})) {
    for (const operation of [path!.get, path!.post, path!.delete]) {
      if (operation) operation.servers = HOT_PATH_SERVERS;
    }
  }
  return document;
}

/** Adds what the plugin has no place for: headers of answers, answers without a body, the id of every operation. */
function finishOperation(document: OpenApiDocument, operation: ApiOperation): void {
  const method = operation.method.toLowerCase() as 'get' | 'post' | 'patch' | 'delete';
  const described = document.paths?.[operation.path]?.[method];
  if (!described?.responses) return;
  if (described.requestBody && 'content' in described.requestBody) {
    described.requestBody.required = operation.body?.safeParse(undefined).success !== true;
  }
  for (const [status, response] of Object.entries(described.responses)) {
    if ('$ref' in response) continue;
    const answer: ApiResponse | undefined = operation.responses[Number(status)];
    if (answer && !answer.schema) delete response.content;
    response.headers = headersOf(answer, operation, Number(status));
  }
}

function headersOf(
  answer: ApiResponse | undefined,
  operation: ApiOperation,
  status: number,
): Record<string, OpenAPIV3_1.HeaderObject> {
  const headers: Record<string, string> = {
    'X-Request-Id': 'Names the request, here and in every log.',
    ...answer?.headers,
  };
  const codes: ProblemCode[] = operation.problems.filter(
    (code) => PROBLEMS[code].status === status,
  );
  if (codes.some((code) => retryAfterSecondsOf(code) !== undefined)) {
    headers['Retry-After'] = 'Seconds after which the same request is worth sending again.';
  }
  if (codes.includes('unauthorized')) headers['WWW-Authenticate'] = 'How to authenticate.';
  if (codes.includes('method_not_allowed')) headers.Allow = 'The methods that there are.';
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, schema: { type: 'string' } },
    ]),
  );
}

/** The provider emits each named schema as request and as answer, whether it occurs there or not. */
function dropUnusedSchemas(document: OpenApiDocument): void {
  const schemas = document.components?.schemas ?? {};
  const used = new Set<string>();
  const follow = (part: unknown) => {
    for (const [, name] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (used.has(name!)) continue;
      used.add(name!);
      follow(schemas[name!] ?? {});
    }
  };
  follow(document.paths);
  for (const name of Object.keys(schemas)) if (!used.has(name)) delete schemas[name];
}
