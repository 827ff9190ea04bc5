/**
 * The bodies of requests: JSON in UTF-8, or none. Proxies frame equal requests differently: they send a length of 0, an
 * empty chunked body or no body, add a Content-Type to it, and join repeated headers. None of this makes a difference.
 */
import type { FastifyInstance } from 'fastify';

const JSON_TYPE = 'application/json';

export function readJsonBodies(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(JSON_TYPE, { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    let text: string;
    try {
      // Rejects invalid UTF-8 instead of replacing it.
      text = utf8.decode(body as Buffer);
    } catch {
      return done(refusal('the body must be well-formed UTF-8'));
    }
    return parseJson(request, text, done);
  });
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) =>
    body.length === 0
      ? done(null, undefined)
      : done(refusal('must have Content-Type: application/json')),
  );
  // Fastify rejects other types before it knows whether there is a body.
  app.addHook('onRequest', async ({ raw: { headers } }) => {
    if (isJson(headers['content-type'])) headers['content-type'] = JSON_TYPE;
    else delete headers['content-type'];
  });
}

/** A repeated header that a proxy has joined counts as one if its values agree. Parameters do not matter. */
function isJson(contentType: string | undefined): boolean {
  const types = contentType?.split(',').map((type) => type.split(';', 1)[0]!.trim().toLowerCase());
  return types?.every((type) => type === JSON_TYPE) ?? false;
}

function refusal(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 422 });
}
