/** Signing in to the dashboard, finding the session again after a reload, and signing out. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema, tracingHeaders } from '../../api/schemas.ts';
import { ROLES } from '../../config.ts';
import type { Principal } from '../context.ts';
import { isRefusal, READ_PROBLEMS, type Refusal, respond } from '../http/outcome.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { refusalOfCrossSite } from './require-role.ts';
import { REMOVED_COOKIE, type Session } from './sessions.ts';
import type { SignIn } from './sign-in.ts';

const CREDENTIAL_LENGTH_MAX = 4_096;
const credentialSchema = z.string().max(CREDENTIAL_LENGTH_MAX);

const sessionSchema = z
  .object({
    role: z.enum(ROLES),
    actor: z.string().describe('As in the audit.'),
    csrfToken: z.string().describe('Send it as `X-CSRF-Token` with every method but GET and HEAD.'),
    expiresAt: timeSchema.describe('The session ends then, unless it is used before.'),
  })
  .meta({ id: 'Session' });

const SESSION_REQUEST = {
  tag: 'Dashboard',
  path: '/session',
  headers: z.object(tracingHeaders),
} as const;
const COOKIE_HEADER = { 'Set-Cookie': 'The cookie of the session.' };

const SIGN_IN = {
  operationId: 'signIn',
  method: 'POST',
  ...SESSION_REQUEST,
  summary: 'Sign in with a token or with the code of a sign-in link',
  description:
    'Sets a cookie that every other operation accepts instead of `Authorization`. The session ends 12 hours after its last use, 7 days after signing in, by signing out, or when its token is removed from ADMIN_TOKENS.',
  access: 'public',
  body: z.union(
    [
      z.strictObject({ token: credentialSchema.describe('A token of ADMIN_TOKENS.') }),
      z.strictObject({ code: credentialSchema.describe('What follows `#/sign-in/` in a link.') }),
    ],
    { error: 'must be {"token": "…"} or {"code": "…"}' },
  ),
  responses: { 201: { description: 'Signed in.', schema: sessionSchema, headers: COOKIE_HEADER } },
  problems: [...READ_PROBLEMS, 'payload_too_large'],
} as const satisfies ApiOperation;

const GET = {
  operationId: 'getSession',
  method: 'GET',
  ...SESSION_REQUEST,
  summary: 'Get the session of the cookie',
  access: 'viewer',
  credentials: 'session',
  responses: { 200: { description: 'The session.', schema: sessionSchema } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const SIGN_OUT = {
  operationId: 'signOut',
  method: 'DELETE',
  ...SESSION_REQUEST,
  summary: 'Sign out; also without a session',
  access: 'public',
  responses: { 204: { description: 'Signed out.', headers: COOKIE_HEADER } },
  problems: ['forbidden', 'method_not_allowed', 'invalid_request', 'overloaded', 'unavailable'],
} as const satisfies ApiOperation;

export function serveSessions(app: FastifyInstance, signIn: SignIn): void {
  const { sessions, signedOut, sessionOf } = signIn;

  serveOperation(app, SIGN_IN, async ({ body }, request) => {
    const crossSite = refusalOfCrossSite(request);
    if (crossSite) return crossSite;
    const principal =
      'token' in body
        ? await byToken(signIn, request, body.token)
        : await byCode(signIn, request, body.code);
    if (isRefusal(principal)) return principal;
    // For the log: the operation itself is public.
    request.principal = principal;
    const session = sessions.start(principal, request.isHttps);
    return respond(201, viewOf(session), { 'Set-Cookie': sessions.cookieOf(session) });
  });

  serveOperation(app, GET, async (_input, { session }) => respond(200, viewOf(session!)));

  serveOperation(app, SIGN_OUT, async (_input, request) => {
    const crossSite = refusalOfCrossSite(request);
    if (crossSite) return crossSite;
    const session = await sessionOf(request.headers.cookie);
    if (session) await signedOut.add(session);
    return respond(204, undefined, { 'Set-Cookie': REMOVED_COOKIE });
  });
}

async function byToken(
  { authenticate, failedAuthLimit }: SignIn,
  request: FastifyRequest,
  token: string,
): Promise<Principal | Refusal> {
  const decided = await failedAuthLimit.decide(request, authenticate(token));
  return saying(decided, 'The token is wrong.');
}

async function byCode(
  { codes, failedAuthLimit }: SignIn,
  request: FastifyRequest,
  code: string,
): Promise<Principal | Refusal> {
  // Before the code is used up.
  const tooMany = await failedAuthLimit.refusalOf(request);
  if (tooMany) return tooMany;
  const principal = await codes.use(code);
  if (principal) return principal;
  return saying(
    await failedAuthLimit.decide(request, undefined),
    'The sign-in link has been used or has expired. Make another one, or sign in with a token.',
  );
}

/** The detail of the problem `unauthorized`. */
function saying(decided: Principal | Refusal, detail: string): Principal | Refusal {
  if (!isRefusal(decided) || decided.refused !== 'unauthorized') return decided;
  return { ...decided, extensions: { detail } };
}

function viewOf({ principal, csrfToken, endsAtSeconds }: Session): z.infer<typeof sessionSchema> {
  const expiresAt = new Date(endsAtSeconds * 1000).toISOString();
  return { ...principal, csrfToken, expiresAt };
}
