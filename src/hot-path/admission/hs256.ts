/**
 * Verifies the usual token of a shop: signed with HS256, one of the usual headers, ordinary claims. It only accepts. What
 * it does not accept is left to the library, which knows all other tokens and the reason for each refusal.
 *
 * Hand-written because in a rush almost every token is new, and the library makes objects for each
 * (docs/adr/0030-ordinary-tokens.md).
 */
import { hash } from 'node:crypto';

/** The encoded header, and the dot after it. */
const HEADERS = [{ alg: 'HS256', typ: 'JWT' }, { typ: 'JWT', alg: 'HS256' }, { alg: 'HS256' }].map(
  (header) => `${Buffer.from(JSON.stringify(header)).toString('base64url')}.`,
);
const BASE64URL = /^[\w-]+$/;
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;
const SIGNATURE_CHARACTERS = 43;
const TOKEN_CHARACTERS_MAX = 1_024;

/** Claims that were checked: the token is valid now, if the subject is a buyer's id. */
interface OrdinaryClaims {
  sub: string;
  exp?: number;
}

interface Claims {
  sub?: unknown;
  exp?: unknown;
  nbf?: unknown;
  iss?: unknown;
  aud?: unknown;
}

export interface ExpectedClaims {
  issuer: string | undefined;
  audience: string | undefined;
}

export type VerifyOrdinary = (token: string) => OrdinaryClaims | undefined;

/** Undefined: the library has to decide. */
export function createOrdinaryVerifier(secret: string, expected: ExpectedClaims): VerifyOrdinary {
  const key = Buffer.alloc(BLOCK_BYTES);
  const bytes = Buffer.from(secret);
  (bytes.length > BLOCK_BYTES ? hash('sha256', bytes, 'buffer') : bytes).copy(key);
  // The two inputs of an HMAC: RFC 2104. In UTF-8, a character takes at most three bytes.
  const inner = Buffer.alloc(BLOCK_BYTES + 3 * TOKEN_CHARACTERS_MAX);
  const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);
  for (const [index, byte] of key.entries()) {
    inner[index] = byte ^ 0x36;
    outer[index] = byte ^ 0x5c;
  }
  const decoded = Buffer.alloc(TOKEN_CHARACTERS_MAX);

  return (token) => {
    const dotAt = token.length - SIGNATURE_CHARACTERS - 1;
    const header = HEADERS.find((each) => token.startsWith(each));
    if (header === undefined || token.length > TOKEN_CHARACTERS_MAX) return undefined;
    const payload = token.slice(header.length, dotAt);
    if (token[dotAt] !== '.' || !BASE64URL.test(payload)) return undefined;

    const end = BLOCK_BYTES + inner.write(token.slice(0, dotAt), BLOCK_BYTES, 'utf8');
    outer.write(hash('sha256', inner.subarray(0, end), 'binary'), BLOCK_BYTES, 'latin1');
    if (!isSame(token, dotAt + 1, hash('sha256', outer, 'base64url'))) return undefined;

    const claims = parse(decoded.toString('utf8', 0, decoded.write(payload, 'base64url')));
    return claims && isOrdinary(claims, expected) ? (claims as OrdinaryClaims) : undefined;
  };
}

/** In constant time: it compares all characters. */
function isSame(token: string, signatureAt: number, signature: string): boolean {
  let difference = 0;
  for (let i = 0; i < SIGNATURE_CHARACTERS; i++) {
    difference |= token.charCodeAt(signatureAt + i) ^ signature.charCodeAt(i);
  }
  return difference === 0;
}

function parse(text: string): Claims | undefined {
  try {
    const claims: unknown = JSON.parse(text);
    const isObject = typeof claims === 'object' && claims !== null && !Array.isArray(claims);
    return isObject ? claims : undefined;
  } catch {
    return undefined;
  }
}

/** Times without the leeway: a token that needs it is left to the library. */
function isOrdinary(
  { sub, exp, nbf, iss, aud }: Claims,
  { issuer, audience }: ExpectedClaims,
): boolean {
  const nowSeconds = Date.now() / 1_000;
  return (
    typeof sub === 'string' &&
    (exp === undefined || (typeof exp === 'number' && nowSeconds < exp)) &&
    (nbf === undefined || (typeof nbf === 'number' && nowSeconds >= nbf)) &&
    (!issuer || iss === issuer) &&
    (!audience || aud === audience)
  );
}
