/**
 * Generates the OpenAPI document of both APIs: the admin's operations from its routes, the buyers' from their table. One
 * plugin describes both, from the schemas that validate the requests.
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
import { PROBLEMS, type ProblemCode, retryAfterOf } from '../../api/problems.ts';
import { serveOperation } from '../http/serve-operation.ts';

export type OpenApiDocument = OpenAPIV3_1.Document;

const SWAGGER_OPTIONS: SwaggerOptions = {
  openapi: {
    openapi: '3.1.0',
    info: {
      title: 'flash-sale',
      version: '1',
      description:
        'Flash sales that never oversell, first come, first served. Buyers use the hot path; operators and merchants use the admin. Every refusal is an RFC 9457 problem with a stable `code`. An absent body and an empty one are equal, however they are framed and whatever their Content-Type is. Bodies are JSON in UTF-8; the admin requires `Content-Type: application/json` for them, in any case and with any parameters.',
    },
    tags: [
      { name: 'Buyers', description: 'The hot path: buying, and the own reservations.' },
      {
        name: 'Operators',
        description: 'The admin: sales, stock, reservations and verification.',
      },
      { name: 'Merchants', description: 'The admin, for shops that take payments.' },
      {
        name: 'Dashboard',
        description: 'The admin, for its page in the browser: sessions, and links that begin one.',
      },
      { name: 'Processes', description: 'Health, readiness and metrics of every process.' },
    ],
    components: {
      securitySchemes: {
        adminToken: {
          type: 'http',
          scheme: 'bearer',
          description:
            'A token of ADMIN_TOKENS. Viewers read; merchants also confirm, cancel and extend reservations; operators can do everything.',
        },
        adminSession: {
          type: 'apiKey',
          in: 'cookie',
          name: 'flash-sale-session',
          description:
            'The cookie that `POST /session` sets, for browsers. Every method but GET and HEAD also needs the header `X-CSRF-Token`.',
        },
        buyerToken: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'With BUYER_AUTH=jwt: the JWT of the buyer.',
        },
        buyerHeader: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Buyer-Id',
          description:
            'With BUYER_AUTH=header: the buyer id, set by a gateway in front of the hot path.',
        },
      },
    },
  },
  transform: jsonSchemaTransform,
  transformObject: jsonSchemaTransformObject,
};

/** Must be called before the routes that it describes are added. */
export async function describeRoutes(app: FastifyInstance): Promise<void> {
  await app.register(swagger, SWAGGER_OPTIONS);
}

/** The document of both APIs. Call it when all routes of the admin are added. */
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

/** Describes the routes that the hot path serves, which is not a Fastify application. */
async function buyersDocument(): Promise<OpenApiDocument> {
  const described = Fastify();
  described.setValidatorCompiler(validatorCompiler);
  described.setSerializerCompiler(serializerCompiler);
  await described.register(swagger, SWAGGER_OPTIONS);
  for (const operation of BUYER_OPERATIONS as readonly ApiOperation[]) {
    serveOperation(described, operation, () => Promise.reject(new Error('described only')));
  }
  await described.ready();
  const document = described.swagger() as OpenApiDocument;
  await described.close();
  // The admin serves the document, but the hot path serves these operations.
  for (const path of Object.values(document.paths ?? {})) {
    for (const operation of [path!.get, path!.post, path!.delete]) {
      if (operation) operation.servers = HOT_PATH_SERVERS;
    }
  }
  return document;
}

/** Adds what the plugin cannot express: response headers, and responses without a body. */
function finishOperation(document: OpenApiDocument, operation: ApiOperation): void {
  const method = operation.method.toLowerCase() as 'get' | 'post' | 'patch' | 'delete';
  const described = document.paths?.[operation.path]?.[method];
  if (!described?.responses) return;
  if (described.requestBody && 'content' in described.requestBody) {
    described.requestBody.required = operation.body?.safeParse(undefined).success !== true;
  }
  for (const [status, response] of Object.entries(described.responses)) {
    if ('$ref' in response) continue;
    const documented: ApiResponse | undefined = operation.responses[Number(status)];
    if (documented && !documented.schema) delete response.content;
    response.headers = headersOf(documented, operation, Number(status));
  }
}

function headersOf(
  documented: ApiResponse | undefined,
  operation: ApiOperation,
  status: number,
): Record<string, OpenAPIV3_1.HeaderObject> {
  const headers: Record<string, string> = {
    'X-Request-Id': 'The id of the request, as in every log.',
    ...documented?.headers,
  };
  const codes: ProblemCode[] = operation.problems.filter(
    (code) => PROBLEMS[code].status === status,
  );
  if (codes.some((code) => retryAfterOf(code) !== undefined)) {
    headers['Retry-After'] = 'Seconds until the same request should be sent again.';
  }
  if (codes.includes('unauthorized')) headers['WWW-Authenticate'] = 'The authentication scheme.';
  if (codes.includes('method_not_allowed')) headers.Allow = 'The methods of this path.';
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, schema: { type: 'string' } },
    ]),
  );
}

/** The type provider emits every named schema for requests and for responses, even if one of them is unused. */
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
