/** What a rehearsal is told: by options, by the environment for secrets, or by the description of the private stack. */
import { readFileSync } from 'node:fs';
import { createSigner } from 'fast-jwt';
import { readRehearseConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { rehearsalId } from '../domain/rehearsal.ts';

export interface RehearseChoices {
  hotPathUrl?: string[];
  adminUrl?: string;
  buyers: number;
  units: number;
  seconds: number;
  loadSeconds: number;
  p99Ms: number;
  origin?: string;
  tokens?: string;
  clean?: boolean;
  json?: boolean;
}

export interface Settings {
  hotPathUrls: string[];
  adminUrl: string;
  adminToken: string;
  tokens: TokenSource;
  /** The crowd to expect, the units that it buys, and the time in which all of it must have a response. */
  crowd: { buyers: number; units: number; seconds: number };
  /** Length of each of the two loads. */
  loadSeconds: number;
  /** The time in which 99 of 100 buyers must have a response. */
  p99Ms: number;
  /** The origin of a page that must be able to call the buyers' API. */
  origin: string | undefined;
}

interface TokenSource {
  /** Whether this machine can sign tokens with other claims. */
  sign: ((claims: Record<string, unknown>) => string) | undefined;
  /** How many buyers there can be. */
  most: number;
  /** Tokens of buyers that no earlier call returned. Fewer if there are no more. */
  take(count: number): string[];
}

const TOKEN_MS = 3_600_000;

/** Throws `config_invalid`. `stack` has the addresses of a running private stack. */
export function readSettings(
  choices: RehearseChoices,
  env: NodeJS.ProcessEnv,
  stack: { hotPathUrl: string; adminUrl: string } | undefined,
): Settings {
  const hotPathUrls = choices.hotPathUrl ?? (stack ? [stack.hotPathUrl] : []);
  const adminUrl = choices.adminUrl ?? stack?.adminUrl;
  if (hotPathUrls.length === 0 || adminUrl === undefined) {
    throw new Fault(
      'config_invalid',
      'Give --hot-path-url and --admin-url, or start a private stack with npm start.',
    );
  }
  const config = readRehearseConfig(env);
  const { buyers, units, seconds, loadSeconds, p99Ms } = choices;
  if (units > buyers) {
    throw new Fault('config_invalid', 'A crowd must have at least as many buyers as units.');
  }
  return {
    hotPathUrls: hotPathUrls.map((url) => originOf(url, '--hot-path-url')),
    adminUrl: originOf(adminUrl, '--admin-url'),
    adminToken: config.ADMIN_TOKENS.find(({ role }) => role === 'operator')!.token,
    tokens: choices.tokens === undefined ? signedTokens(config) : storedTokens(choices.tokens),
    crowd: { buyers, units, seconds },
    loadSeconds,
    p99Ms,
    origin: choices.origin,
  };
}

/** The address without a slash at its end. A password would appear in messages. */
function originOf(text: string, option: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username + url.password !== '') {
    throw new Fault(
      'config_invalid',
      `${option} must be an address such as https://shop.example, without a user and a password.`,
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function signedTokens(config: ReturnType<typeof readRehearseConfig>): TokenSource {
  const { JWT_SECRET: key, JWT_ISSUER: iss, JWT_AUDIENCE: aud } = config;
  if (key === undefined) {
    throw new Fault(
      'config_invalid',
      'Set JWT_SECRET in the environment, so that this command can sign tokens of synthetic buyers. If only the shop can sign, give its tokens with --tokens <file>.',
    );
  }
  const base = { ...(iss ? { iss } : {}), ...(aud ? { aud } : {}) };
  const sign = createSigner({ algorithm: 'HS256', key });
  let taken = 0;
  const signBuyer = () => {
    const exp = Math.floor((Date.now() + TOKEN_MS) / 1_000);
    return sign({ ...base, sub: rehearsalId(`buyer-${++taken}`), exp });
  };
  return {
    sign: (claims) => sign({ ...base, sub: rehearsalId('buyer-0'), ...claims }),
    most: Number.POSITIVE_INFINITY,
    take: (count) => Array.from({ length: count }, signBuyer),
  };
}

/** Fewer do not show how a crowd is served. */
const STORED_TOKENS_MIN = 200;

function storedTokens(path: string): TokenSource {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Fault('config_invalid', `--tokens: ${path} cannot be read (${code}).`);
  }
  const tokens = [...new Set(text.split('\n').map((line) => line.trim()))].filter(Boolean);
  if (tokens.length < STORED_TOKENS_MIN) {
    throw new Fault(
      'config_invalid',
      `--tokens: ${path} has ${tokens.length} tokens; at least ${STORED_TOKENS_MIN} are needed, one a line, each of another buyer whose id begins with rehearsal-.`,
    );
  }
  let taken = 0;
  return {
    sign: undefined,
    most: tokens.length,
    take(count) {
      const some = tokens.slice(taken, taken + count);
      taken += some.length;
      return some;
    },
  };
}
