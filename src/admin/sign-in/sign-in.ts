/** What signing in to this admin needs: tokens, sessions, the codes of links, and the limit of failed attempts. */
import type { FastifyInstance } from 'fastify';
import type { AdminContext } from '../context.ts';
import { type Authenticate, createAuthenticator } from './authenticate.ts';
import { createFailedAuthLimit, type FailedAuthLimit } from './failed-auth-limit.ts';
import { type Session, Sessions } from './sessions.ts';
import { SignInCodes } from './sign-in-codes.ts';
import { SignedOutSessions } from './signed-out-sessions.ts';

export interface SignIn {
  authenticate: Authenticate;
  failedAuthLimit: FailedAuthLimit;
  sessions: Sessions;
  signedOut: SignedOutSessions;
  codes: SignInCodes;
  /** The session of a `Cookie` header, unless it has ended. */
  sessionOf: (cookies: string | undefined) => Promise<Session | undefined>;
}

export async function createSignIn(
  app: FastifyInstance,
  { tokens, shards }: Pick<AdminContext, 'tokens' | 'shards'>,
): Promise<SignIn> {
  const sessions = new Sessions(tokens);
  const signedOut = new SignedOutSessions(shards);
  return {
    authenticate: createAuthenticator(tokens),
    failedAuthLimit: await createFailedAuthLimit(app),
    sessions,
    signedOut,
    codes: new SignInCodes(tokens, shards),
    sessionOf: async (cookies) => {
      const session = sessions.find(cookies);
      return session && !(await signedOut.has(session)) ? session : undefined;
    },
  };
}
