/**
 * Serves the dashboard's page at `/` and its modules, styles and packages below `/assets/`. They hold no data, so they are
 * public; the page gets its data from the API with the cookie of its session. It keeps its own address in the fragment.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { sendProblem } from '../http/serve-operation.ts';
import { inlineScriptSources, type PageFile, readPageFiles } from './page-files.ts';

export function serveDashboardPage(app: FastifyInstance): void {
  const { index, assets } = readPageFiles();
  const pageHeaders = {
    'Content-Security-Policy': contentSecurityPolicy(index),
    // A page that opens this one, or that this one opens, cannot reach its window.
    'Cross-Origin-Opener-Policy': 'same-origin',
  };
  const hidden = { schema: { hide: true } };

  app.get('/', hidden, async (request, reply) =>
    sendFile(request, reply.headers(pageHeaders), index),
  );
  app.get<{ Params: { '*': string } }>('/assets/*', hidden, async (request, reply) => {
    const file = assets.get(request.params['*']);
    return file ? sendFile(request, reply, file) : sendProblem(reply, 'not_found');
  });
}

/** Only this origin, no inline code apart from the import map, no form that leaves the page, no frame around it. */
function contentSecurityPolicy(index: PageFile): string {
  return [
    "default-src 'none'",
    ["script-src 'self'", ...inlineScriptSources(index.text)].join(' '),
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "font-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

async function sendFile(request: FastifyRequest, reply: FastifyReply, file: PageFile) {
  reply.headers({
    ETag: file.etag,
    // Every load asks whether the file has changed: its name stays the same in the next version.
    'Cache-Control': 'no-cache',
    'Cross-Origin-Resource-Policy': 'same-origin',
    Vary: 'Accept-Encoding',
  });
  const known = request.headers['if-none-match']?.split(',').map((tag) => tag.trim());
  if (known?.includes(file.etag)) return reply.status(304).send();
  const { encoding, bytes } = await file.encodedFor(request.headers['accept-encoding'] ?? '');
  if (encoding !== undefined) reply.header('Content-Encoding', encoding);
  return reply.type(file.contentType).send(bytes);
}
