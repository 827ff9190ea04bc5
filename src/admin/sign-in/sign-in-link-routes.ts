/** Making links that sign in to the dashboard once, so that a token need not be copied into a browser. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema, tracingHeaders } from '../../api/schemas.ts';
import { READ_PROBLEMS, refuseFields, respond } from '../http/outcome.ts';
import { serveOperation } from '../http/serve-operation.ts';
import type { SignIn } from './sign-in.ts';

const CREATE = {
  operationId: 'createSignInLink',
  method: 'POST',
  path: '/admin/v1/sign-in-links',
  tag: 'Dashboard',
  headers: z.object(tracingHeaders),
  summary: 'Create a link that signs in to the dashboard once, within five minutes',
  description:
    'The session has the role of the token that made the link. The code is in the fragment of the URL, which browsers do not send, so no server and no proxy logs it. The URL begins as this request did: its Host, and `https` if a proxy of TRUSTED_PROXIES says so in `X-Forwarded-Proto`.',
  access: 'operator',
  credentials: 'token',
  responses: {
    201: {
      description: 'Created. Opening it signs in and uses it up.',
      schema: z.object({ url: z.string(), expiresAt: timeSchema }).meta({ id: 'SignInLink' }),
    },
  },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

export function serveSignInLinks(app: FastifyInstance, { codes }: SignIn): void {
  serveOperation(app, CREATE, async (_input, request) => {
    const origin = originOf(request);
    if (origin === undefined) return refuseFields({ field: 'Host', message: 'must be a host' });
    const { code, expiresAt } = await codes.create(request.principal!);
    return respond(201, {
      url: `${origin}/#/sign-in/${code}`,
      expiresAt: expiresAt.toISOString(),
    });
  });
}

/** Where the client has reached this process. */
function originOf({ isHttps, headers: { host = '' } }: FastifyRequest): string | undefined {
  const text = `${isHttps ? 'https' : 'http'}://${host}`;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  return url.href === `${url.origin}/` ? url.origin : undefined;
}
