/**
 * The shop's login. It knows each browser by a cookie, and signs the tokens with which buyers call the engine. Here
 * everyone gets an account without a password; a real shop signs people in first.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const COOKIE = 'shop-session';
const COOKIE_MAX_AGE_SECONDS = 86_400;
/** Short: a token that leaks is soon worthless. The page gets the next one in time. */
const TOKEN_SECONDS = 600;

export interface Token {
  token: string;
  buyerId: string;
  /** When the page must get the next one. */
  expiresInMs: number;
}

export class Login {
  readonly #secret: string;
  readonly #peoplePrefix: string;

  /** `secret` is the JWT_SECRET of the engine. Ids of buyers begin with `peoplePrefix`. */
  constructor(secret: string, peoplePrefix: string) {
    this.#secret = secret;
    this.#peoplePrefix = peoplePrefix;
  }

  /** The buyer of a request, undefined without a valid cookie. */
  buyerOf({ headers }: IncomingMessage): string | undefined {
    const cookies = (headers.cookie ?? '').split(/;\s*/);
    const value = cookies.find((each) => each.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1);
    const [buyerId, signature] = value?.split('.') ?? [];
    if (!buyerId || !signature) return undefined;
    return isEqual(signature, this.#sign(`cookie ${buyerId}`)) ? buyerId : undefined;
  }

  newBuyer(): string {
    return this.#peoplePrefix + randomBytes(6).toString('hex');
  }

  /**
   * The value of Set-Cookie. Scripts cannot read the cookie, and other sites cannot send it. Behind https, add Secure.
   */
  cookieOf(buyerId: string): string {
    const value = `${buyerId}.${this.#sign(`cookie ${buyerId}`)}`;
    return `${COOKIE}=${value}; Path=/; Max-Age=${COOKIE_MAX_AGE_SECONDS}; HttpOnly; SameSite=Strict`;
  }

  /** A JWT, signed with HS256, as the engine expects it. */
  tokenOf(buyerId: string): Token {
    const expiresAt = Math.floor(Date.now() / 1_000) + TOKEN_SECONDS;
    const content = [
      { alg: 'HS256', typ: 'JWT' },
      { sub: buyerId, exp: expiresAt },
    ]
      .map((piece) => Buffer.from(JSON.stringify(piece)).toString('base64url'))
      .join('.');
    const token = `${content}.${this.#sign(content)}`;
    return { token, buyerId, expiresInMs: (TOKEN_SECONDS * 1_000) / 2 };
  }

  #sign(text: string): string {
    return createHmac('sha256', this.#secret).update(text).digest('base64url');
  }
}

function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
