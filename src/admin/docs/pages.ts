/** The start page, the OpenAPI document and Swagger UI. This process serves all their assets itself. */
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import type { ApiOperation } from '../../api/operation.ts';
import { buildDocument, type OpenApiDocument } from './openapi.ts';

/** No foreign sources and no framing; Swagger UI needs inline styles. */
const CONTENT_SECURITY_POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SECURITY_HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
};

const START_PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>flash-sale admin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
<h1>flash-sale admin</h1>
<p>The API of operators and merchants of a flash-sale engine: sales, stock, reservations and verification. It requires
a bearer token.</p>
<ul>
<li><a href="/docs">Documentation of both APIs</a>, and as a document: <a href="/openapi.json">openapi.json</a></li>
<li><a href="/readyz">Readiness</a>, <a href="/metrics">metrics</a></li>
</ul>
</html>
`;

/** Forbids content sniffing everywhere; pages also restrict what a browser loads and which site may frame them. */
export function setSecurityHeaders(app: FastifyInstance): void {
  app.addHook('onSend', async (_request, reply, payload) => {
    const isPage = String(reply.getHeader('content-type') ?? '').startsWith('text/html');
    if (isPage) reply.headers(SECURITY_HEADERS);
    else reply.header('X-Content-Type-Options', 'nosniff');
    return payload;
  });
}

export async function servePages(
  app: FastifyInstance,
  adminOperations: () => readonly ApiOperation[],
): Promise<void> {
  let document: OpenApiDocument | undefined;
  // Building it takes a quarter of a second, which no start should wait for.
  const built = async () => {
    document ??= await buildDocument(app, adminOperations());
    return document;
  };

  const hidden = { schema: { hide: true } };
  app.get('/', hidden, async (_request, reply) => reply.type('text/html').send(START_PAGE));
  app.get('/openapi.json', hidden, built);
  await app.register(async (docs) => {
    docs.addHook('onRequest', async () => {
      await built();
    });
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      uiConfig: { docExpansion: 'list', persistAuthorization: true },
      theme: { title: 'flash-sale APIs' },
      transformSpecification: () => ({ ...document }),
    });
  });
}
