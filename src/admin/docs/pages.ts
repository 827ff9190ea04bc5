/** The OpenAPI document and Swagger UI. This process serves all their assets itself. */
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import type { ApiOperation } from '../../api/operation.ts';
import { buildDocument, type OpenApiDocument } from './openapi.ts';

/** Of Swagger UI: no foreign sources and no framing, but inline styles. */
const CONTENT_SECURITY_POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const PAGE_HEADERS = {
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
};

/**
 * Forbids content sniffing everywhere; pages also restrict what a browser loads and which site may frame them. A page
 * that has a stricter policy keeps it.
 */
export function setSecurityHeaders(app: FastifyInstance): void {
  app.addHook('onSend', async (_request, reply, payload) => {
    reply.header('X-Content-Type-Options', 'nosniff');
    const isPage = String(reply.getHeader('content-type') ?? '').startsWith('text/html');
    if (!isPage) return payload;
    reply.headers(PAGE_HEADERS);
    if (!reply.hasHeader('Content-Security-Policy')) {
      reply.header('Content-Security-Policy', CONTENT_SECURITY_POLICY);
    }
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

  app.get('/openapi.json', { schema: { hide: true } }, built);
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
