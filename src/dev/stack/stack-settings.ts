/**
 * Derives the settings of a private stack from the environment and its secrets. Finds every mistake before the first
 * process starts.
 */
import {
  type CommonConfig,
  readAdminConfig,
  readHotPathConfig,
  readPersisterConfig,
} from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import { findFreePorts, requireFreePorts } from '../../process/free-port.ts';
import { privatePostgresUrl } from './private-postgres.ts';
import { privateRedisUrl } from './private-redis.ts';
import type { Secrets } from './secrets.ts';

export interface StackSettings {
  secrets: Secrets;
  jwtSecret: string;
  ports: { redis: number; postgres: number; hotPath: number; persister: number; admin: number };
  /** The address that the processes listen on. */
  host: string;
  hotPathWorkers: number;
  durability: CommonConfig['DURABILITY'];
  /** The complete environment of the engine's processes. */
  env: NodeJS.ProcessEnv;
}

/**
 * Messages suggest to repeat `command`.
 *
 * @throws Fault config_invalid with every mistake, or port_taken with every taken port
 */
export async function resolveStackSettings(
  userEnv: NodeJS.ProcessEnv,
  secrets: Secrets,
  command: string,
): Promise<StackSettings> {
  const [redis, postgres, ...spare] = (await findFreePorts(5)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const ownTokens = `operator:${secrets.adminToken},merchant:${secrets.merchantToken}`;
  const jwtSecret = userEnv.JWT_SECRET || secrets.jwtSecret;
  const env: NodeJS.ProcessEnv = {
    ...userEnv,
    NODE_ENV: userEnv.NODE_ENV || 'development',
    REDIS_URL: privateRedisUrl({ port: redis, password: secrets.redisPassword }),
    DATABASE_URL: privatePostgresUrl({ port: postgres, password: secrets.postgresPassword }),
    JWT_SECRET: jwtSecret,
    ADMIN_TOKENS: userEnv.ADMIN_TOKENS ? `${ownTokens},${userEnv.ADMIN_TOKENS}` : ownTokens,
    PERSISTER_PORT: userEnv.PERSISTER_PORT || '0',
  };
  const { hotPath, persister, admin } = readAll(env);
  if (hotPath.DURABILITY === 'replicated') {
    throw new Fault(
      'config_invalid',
      'DURABILITY=replicated needs a replica, and the private stack has one Redis. Use safe, or run the processes with your own servers.',
    );
  }
  const host = hotPath.HOST;
  await requireFreePorts(
    [
      { variable: 'HOT_PATH_PORT', port: hotPath.HOT_PATH_PORT, host },
      { variable: 'ADMIN_PORT', port: admin.ADMIN_PORT, host },
      { variable: 'PERSISTER_PORT', port: persister.PERSISTER_PORT, host },
    ],
    command,
  );
  const ports = {
    redis,
    postgres,
    hotPath: hotPath.HOT_PATH_PORT || spare[0],
    admin: admin.ADMIN_PORT || spare[1],
    persister: persister.PERSISTER_PORT || spare[2],
  };
  return {
    secrets,
    jwtSecret,
    ports,
    host,
    hotPathWorkers: hotPath.HOT_PATH_WORKERS,
    durability: hotPath.DURABILITY,
    env: {
      ...env,
      HOT_PATH_PORT: String(ports.hotPath),
      ADMIN_PORT: String(ports.admin),
      PERSISTER_PORT: String(ports.persister),
      // The stack starts each worker itself.
      HOT_PATH_WORKERS: '1',
    },
  };
}

/** Parses the environment as each process will, and reports the mistakes of all in one message. */
function readAll(env: NodeJS.ProcessEnv) {
  const mistakes = new Set<string>();
  const read = <T>(readConfig: (env: NodeJS.ProcessEnv) => T): T | undefined => {
    try {
      return readConfig(env);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      // Each mistake is one indented line. A variable that two processes read occurs twice.
      for (const line of error.message.split('\n')) if (line.startsWith('  ')) mistakes.add(line);
      return undefined;
    }
  };
  const hotPath = read(readHotPathConfig);
  const persister = read(readPersisterConfig);
  const admin = read(readAdminConfig);
  if (hotPath && persister && admin) return { hotPath, persister, admin };
  throw new Fault(
    'config_invalid',
    `The environment is invalid:\n${[...mistakes].join('\n')}\n.env.example lists every variable.`,
  );
}
