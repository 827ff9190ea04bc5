/**
 * Sessions of the dashboard. A session is its cookie: signed, without a token in it, and known to every admin with the
 * same ADMIN_TOKENS. It lasts 12 hours after its last use and 7 days at most, and ends when its token is removed.
 */
import { createHash } from 'node:crypto';
import { nanoid } from 'nanoid';
import type { AdminToken } from '../../config.ts';
import type { Principal } from '../context.ts';
import { SignedClaims } from './signed-claims.ts';

const COOKIE = 'flash-sale-session';
const IDLE_SECONDS_MAX = 12 * 3600;
/** From signing in, however often it is renewed. */
export const SESSION_SECONDS_MAX = 7 * 24 * 3600;
/** A session that is used gets another cookie at most this often. */
const RENEWAL_SECONDS = 600;

export interface Session {
  /** Random; a renewal keeps it. */
  id: string;
  principal: Principal;
  /** Must come with each change: a page of another site can make a browser send the cookie, but cannot read this. */
  csrfToken: string;
  startedAtSeconds: number;
  issuedAtSeconds: number;
  endsAtSeconds: number;
  /** The browser sends the cookie over HTTPS only. */
  isSecure: boolean;
}

interface Claims {
  id: string;
  startedAtSeconds: number;
  isSecure: boolean;
}

export class Sessions {
  readonly #signed: SignedClaims<Claims>;

  constructor(tokens: readonly AdminToken[]) {
    this.#signed = new SignedClaims(tokens, 'session');
  }

  start(principal: Principal, isSecure: boolean): Session {
    return sessionOf(principal, { id: nanoid(), startedAtSeconds: nowSeconds(), isSecure });
  }

  /** The session of a `Cookie` header. It may be signed out, see signed-out-sessions.ts. */
  find(cookies: string | undefined): Session | undefined {
    const text = cookieValueOf(cookies);
    const signed = text === undefined ? undefined : this.#signed.verify(text);
    if (!signed) return undefined;
    const { iat, exp } = signed.claims;
    return {
      ...sessionOf(signed.principal, signed.claims),
      issuedAtSeconds: iat,
      endsAtSeconds: exp,
    };
  }

  /** The same session with a later end; undefined if its cookie is still new. */
  renew(session: Session): Session | undefined {
    if (nowSeconds() - session.issuedAtSeconds < RENEWAL_SECONDS) return undefined;
    const renewed = sessionOf(session.principal, session);
    return renewed.endsAtSeconds > session.endsAtSeconds ? renewed : undefined;
  }

  /** The value of `Set-Cookie`. */
  cookieOf(session: Session): string {
    const { principal, id, startedAtSeconds, isSecure, endsAtSeconds } = session;
    const claims = { id, startedAtSeconds, isSecure };
    const text = this.#signed.sign(principal, claims, endsAtSeconds);
    const maxAge = endsAtSeconds - nowSeconds();
    return `${COOKIE}=${text}; Max-Age=${maxAge}; Path=/; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`;
  }
}

/** The value of `Set-Cookie` that removes the cookie. */
export const REMOVED_COOKIE = `${COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict`;

export function hasSessionCookie(cookies: string | undefined): boolean {
  return cookieValueOf(cookies) !== undefined;
}

function sessionOf(principal: Principal, { id, startedAtSeconds, isSecure }: Claims): Session {
  const now = nowSeconds();
  return {
    id,
    principal,
    csrfToken: createHash('sha256').update(`csrf ${id}`).digest('base64url'),
    startedAtSeconds,
    issuedAtSeconds: now,
    endsAtSeconds: Math.min(now + IDLE_SECONDS_MAX, startedAtSeconds + SESSION_SECONDS_MAX),
    isSecure,
  };
}

function cookieValueOf(cookies: string | undefined): string | undefined {
  const start = `${COOKIE}=`;
  const cookie = cookies?.split(';').find((text) => text.trim().startsWith(start));
  return cookie?.trim().slice(start.length);
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
