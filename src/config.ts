/**
 * The environment, read once at start and nowhere else. One error reports all mistakes and how to fix them.
 */
import { createPublicKey } from 'node:crypto';
import { availableParallelism } from 'node:os';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { Fault } from './domain/fault.ts';

const port = (fallback: number) => z.coerce.number().int().min(0).max(65_535).default(fallback);
const wholeNumber = (fallback: number, min: number, max: number) =>
  z.coerce.number().int().min(min).max(max).default(fallback);

export const ROLES = ['viewer', 'merchant', 'operator'] as const;
/** What a token may do. Operators may also do what merchants may do, and all roles may read. */
export type Role = (typeof ROLES)[number];
export type AdminToken = { role: Role; token: string };

const adminTokens = z
  .string({ error: 'is missing; give role:token pairs, e.g. operator:<24 or more characters>' })
  .transform((text, context) => {
    const reject = (message: string) => context.addIssue({ code: 'custom', message });
    return text.split(',').flatMap((part): AdminToken[] => {
      const pair = part.trim();
      const role = ROLES.find((name) => pair.startsWith(`${name}:`));
      const token = pair.slice(pair.indexOf(':') + 1);
      if (!role) reject('must be role:token pairs; roles are viewer, merchant, operator');
      else if (token.length < 16) reject(`the ${role} token must have 16 or more characters`);
      else return [{ role, token }];
      return [];
    });
  });

/** Error messages never contain the values: they hold passwords. */
function isUrl(text: string, protocols: RegExp): boolean {
  try {
    const url = new URL(text);
    decodeURIComponent(url.username + url.password);
    return protocols.test(url.protocol) && url.hostname !== '';
  } catch {
    return false;
  }
}

function isPublicKey(pem: string): boolean {
  // createPublicKey also accepts a private key, which must not be here.
  if (pem.includes('PRIVATE KEY')) return false;
  try {
    createPublicKey(pem);
    return true;
  } catch {
    return false;
  }
}

const jwtSecret = z.string().min(32, { error: 'must have 32 or more characters' });
const jwtPublicKey = z
  .string()
  .transform((pem) => pem.replaceAll('\\n', '\n'))
  .refine(isPublicKey, { error: 'must be a public key in PEM, its line ends written as \\n' });
const jwtClaims = { JWT_ISSUER: z.string().optional(), JWT_AUDIENCE: z.string().optional() };

/** Proxies whose X-Forwarded-For header is trusted. */
const trustedProxies = z
  .string()
  .default('')
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== ''))
  .refine((parts) => parts.every((part) => ipaddr.isValid(part) || ipaddr.isValidCIDR(part)), {
    error: 'must be addresses or CIDR ranges, separated by commas, e.g. 10.0.0.0/8',
  });

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}

/** Origins whose pages may call the buyers' API in a browser. */
const corsOrigins = z
  .string()
  .default('')
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== ''))
  .refine((parts) => parts.every((part) => part === '*' || isOrigin(part)), {
    error:
      'must be origins separated by commas, such as https://shop.example, without a path or a slash at the end; or *',
  });

const redisUrl = z
  .string()
  .default('redis://127.0.0.1:6379')
  .refine((text) => text.split(',').every((url) => isUrl(url, /^rediss?(\+sentinel)?:$/)), {
    error:
      'must be redis://, rediss://, redis+sentinel:// or rediss+sentinel:// URLs, several cluster nodes separated by commas; special characters in a password must be percent-encoded',
  });

const everywhere = {
  REDIS_URL: redisUrl,
  HOST: z.string().min(1).default('127.0.0.1'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  DURABILITY: z.enum(['fast', 'safe', 'replicated']).default('safe'),
  NODE_ENV: z.string().default('production'),
  REDIS_COMMAND_TIMEOUT_MS: wholeNumber(2_000, 50, 60_000),
};

const collectorUrl = z
  .string()
  .refine((text) => isUrl(text, /^https?:$/), { error: 'must be an http:// or https:// URL' })
  .optional();

/** OpenTelemetry's own variables. The exporter reads more of them, such as OTEL_EXPORTER_OTLP_TIMEOUT. */
const tracing = {
  OTEL_SDK_DISABLED: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  OTEL_TRACES_EXPORTER: z.enum(['otlp', 'console', 'none']).optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: collectorUrl,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collectorUrl,
  OTEL_EXPORTER_OTLP_HEADERS: z.string().optional(),
  OTEL_SERVICE_NAME: z.string().optional(),
  OTEL_RESOURCE_ATTRIBUTES: z.string().optional(),
  OTEL_TRACES_SAMPLER: z
    .enum([
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
      'always_on',
      'always_off',
      'traceidratio',
    ])
    .default('parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(1),
};

const serversShape = {
  ...everywhere,
  DATABASE_URL: z
    .string()
    .default('postgres://postgres@127.0.0.1:5432/flash_sale')
    .refine((text) => isUrl(text, /^postgres(ql)?:$/), {
      error: 'must be a postgres:// URL; special characters in a password must be percent-encoded',
    }),
};

const backlog = {
  /** Decisions that Redis keeps while PostgreSQL is unavailable; beyond, it decides no new ones. */
  BACKLOG_MAX: wholeNumber(2_000_000, 1, 1_000_000_000),
};

const hotPathShape = {
  ...everywhere,
  ...tracing,
  HOT_PATH_PORT: port(8080),
  HOT_PATH_WORKERS: z
    .union([z.literal('auto'), z.coerce.number().int().min(1).max(256)], {
      error: 'must be a number from 1 to 256, or auto',
    })
    .default(1)
    .transform((count) => (count === 'auto' ? availableParallelism() : count)),
  BUYER_AUTH: z.enum(['jwt', 'header']).default('jwt'),
  JWT_SECRET: jwtSecret.optional(),
  JWT_SECRET_PREVIOUS: jwtSecret.optional(),
  JWT_PUBLIC_KEY: jwtPublicKey.optional(),
  JWT_PUBLIC_KEY_PREVIOUS: jwtPublicKey.optional(),
  ...jwtClaims,
  /** How far the clock of a token's issuer may differ from this machine's. */
  JWT_LEEWAY_SECONDS: wholeNumber(5, 0, 300),
  CORS_ORIGINS: corsOrigins,
  TRUSTED_PROXIES: trustedProxies,
  /** Average over ten seconds, per process; 0: no limit. Requests beyond it get 429. */
  BUYER_REQUESTS_PER_SECOND: wholeNumber(100, 0, 1_000_000),
  ADDRESS_REQUESTS_PER_SECOND: wholeNumber(0, 0, 1_000_000),
  /** The request line and all headers; more gets 431. uWebSockets.js keeps as much memory per connection meanwhile. */
  REQUEST_HEAD_BYTES_MAX: wholeNumber(16_384, 8_192, 1_048_576),
  /** Buyers that one reserve call decides, fewer if they want baskets, see `costOf`; the bound keeps a call of ordinary purchases under a millisecond. */
  BATCH_SIZE_MAX: wholeNumber(128, 1, 256),
  BATCHES_IN_FLIGHT_MAX: wholeNumber(2, 1, 16),
  /** Buyers of one sale in the queue of one process; requests beyond it get 503. */
  WAITING_MAX: wholeNumber(20_000, 1, 1_000_000),
  /** Requests in flight in one process, over all sales; requests beyond it get 503. */
  REQUESTS_MAX: wholeNumber(50_000, 1, 1_000_000),
  /** WebSockets of one process; connections beyond it get 503. */
  LIVE_SUBSCRIBERS_MAX: wholeNumber(20_000, 0, 1_000_000),
  /** WebSockets of one client address; 0: no limit. */
  LIVE_PER_ADDRESS_MAX: wholeNumber(0, 0, 1_000_000),
  ...backlog,
};

const persisterShape = {
  ...serversShape,
  ...tracing,
  ...backlog,
  PERSISTER_PORT: port(8082),
  /** Sales are archived this long after their end. Fractions are allowed. */
  ARCHIVE_AFTER_DAYS: z.coerce.number().min(0).max(36_500).default(7),
};

const adminShape = {
  ...serversShape,
  ...tracing,
  ADMIN_PORT: port(8081),
  ADMIN_TOKENS: adminTokens,
  TRUSTED_PROXIES: trustedProxies,
};

const tokenShape = { JWT_SECRET: z.string({ error: 'is missing' }).min(32), ...jwtClaims };

/** Secrets of `rehearse`; everything else that it is told are options. */
const rehearseShape = {
  ADMIN_TOKENS: adminTokens.refine((tokens) => tokens.some(({ role }) => role === 'operator'), {
    error: 'must have the token of an operator, as operator:<token>',
  }),
  JWT_SECRET: jwtSecret.optional(),
  ...jwtClaims,
};

/** The variables that each process reads; .env.example and the manifests are checked against them. */
export const VARIABLES = {
  'hot-path': Object.keys(hotPathShape),
  persister: Object.keys(persisterShape),
  admin: Object.keys(adminShape),
  migrate: Object.keys(serversShape),
  token: Object.keys(tokenShape),
  rehearse: Object.keys(rehearseShape),
};

export type CommonConfig = z.infer<z.ZodObject<typeof everywhere>>;
export type HotPathConfig = z.infer<z.ZodObject<typeof hotPathShape>>;
export type PersisterConfig = z.infer<z.ZodObject<typeof persisterShape>>;
export type AdminConfig = z.infer<z.ZodObject<typeof adminShape>>;

type Environment = Record<string, string | undefined>;

export function readHotPathConfig(env: Environment): HotPathConfig {
  const hasKey = (config: HotPathConfig) =>
    config.BUYER_AUTH === 'header' || config.JWT_SECRET || config.JWT_PUBLIC_KEY;
  const error =
    'is missing: BUYER_AUTH=jwt needs JWT_SECRET (HS256) or JWT_PUBLIC_KEY (RS256, ES256, EdDSA)';
  return parse(z.object(hotPathShape).refine(hasKey, { path: ['JWT_SECRET'], error }), env);
}

export function readPersisterConfig(env: Environment): PersisterConfig {
  return parse(z.object(persisterShape), env);
}

export function readAdminConfig(env: Environment): AdminConfig {
  return parse(z.object(adminShape), env);
}

/** For commands that only need the two servers: `migrate`, `verify`. */
export function readServersConfig(env: Environment): z.infer<z.ZodObject<typeof serversShape>> {
  return parse(z.object(serversShape), env);
}

export function readTokenConfig(env: Environment): z.infer<z.ZodObject<typeof tokenShape>> {
  return parse(z.object(tokenShape), env);
}

export function readRehearseConfig(env: Environment): z.infer<z.ZodObject<typeof rehearseShape>> {
  return parse(z.object(rehearseShape), env);
}

/** An empty variable counts as absent: that is what `VAR= command` and compose's `${VAR:-}` mean. */
function parse<T extends z.ZodType>(schema: T, env: Environment): z.infer<T> {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = schema.safeParse(present);
  if (result.success) return result.data;
  const mistakes = result.error.issues.map((each) => `  ${each.path.join('.')}: ${each.message}`);
  throw new Fault(
    'config_invalid',
    `The environment is invalid:\n${mistakes.join('\n')}\n.env.example lists every variable.`,
  );
}
