/**
 * Admits requests by their token or by the cookie of a session, before their body is read. A browser also sends the
 * cookie with a request that another site has forged; therefore changes need the session's CSRF token too.
 */
import { timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ApiOperation } from '../../api/operation.ts';
import type { Role } from '../../config.ts';
import type { Principal } from '../context.ts';
import { isRefusal, type Refusal, refuse } from '../http/outcome.ts';
import { sendProblem, sendRefusal } from '../http/serve-operation.ts';
import { bearerTokenOf, includesRole } from './authenticate.ts';
import { hasSessionCookie, type Session } from './sessions.ts';
import type { SignIn } from './sign-in.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set if the request was admitted by a session. Responses that last longer than it must end with it. */
    session?: Session;
  }
}

export function requireRoles(app: FastifyInstance, signIn: SignIn): void {
  app.addHook('onRequest', async (request, reply) => {
    const { operation } = request.routeOptions.config;
    if (operation === undefined || operation.access === 'public') return undefined;
    const admitted = await admit(request, operation, signIn);
    if (isRefusal(admitted)) return sendRefusal(reply, admitted);
    const { principal, session } = admitted;
    if (!includesRole(principal.role, operation.access as Role)) {
      return sendProblem(reply, 'forbidden');
    }
    request.principal = principal;
    if (!session) return undefined;
    const renewed = signIn.sessions.renew(session);
    if (renewed) reply.header('Set-Cookie', signIn.sessions.cookieOf(renewed));
    request.session = renewed ?? session;
    return undefined;
  });
}

type Admitted = { principal: Principal; session?: Session };

async function admit(
  request: FastifyRequest,
  { credentials }: ApiOperation,
  signIn: SignIn,
): Promise<Admitted | Refusal> {
  const { authorization, cookie } = request.headers;
  if (authorization !== undefined && credentials !== 'session') {
    const token = bearerTokenOf(authorization);
    const principal = token === undefined ? undefined : signIn.authenticate(token);
    const decided = await signIn.failedAuthLimit.decide(request, principal);
    return isRefusal(decided) ? decided : { principal: decided };
  }
  // A cookie cannot be guessed, so a wrong one does not count as a wrong token: it is of an ended session.
  const session = await signIn.sessionOf(cookie);
  if (!session) return hasSessionCookie(cookie) ? SESSION_ENDED : refuse('unauthorized');
  if (credentials === 'token') return TOKEN_ONLY;
  return refusalOfForged(request, session) ?? { principal: session.principal, session };
}

const SESSION_ENDED = refuse('unauthorized', { detail: 'The session has ended. Sign in again.' });
const TOKEN_ONLY = refuse('forbidden', {
  detail: 'This operation needs a token in the Authorization header; a session is not enough.',
});
const CROSS_SITE = refuse('forbidden', { detail: 'A page of another site has sent this request.' });
const CSRF_TOKEN_MISSING = refuse('forbidden', {
  detail:
    'With a session, a change needs the header X-CSRF-Token: the csrfToken that POST /session and GET /session return.',
});

function refusalOfForged(request: FastifyRequest, session: Session): Refusal | undefined {
  const crossSite = refusalOfCrossSite(request);
  if (crossSite || request.method === 'GET' || request.method === 'HEAD') return crossSite;
  const sent = Buffer.from(String(request.headers['x-csrf-token'] ?? ''));
  const expected = Buffer.from(session.csrfToken);
  const isRight = sent.length === expected.length && timingSafeEqual(sent, expected);
  return isRight ? undefined : CSRF_TOKEN_MISSING;
}

/** By a header that browsers set and pages cannot change. Other clients do not send it. */
export function refusalOfCrossSite({ headers }: FastifyRequest): Refusal | undefined {
  return headers['sec-fetch-site'] === 'cross-site' ? CROSS_SITE : undefined;
}
