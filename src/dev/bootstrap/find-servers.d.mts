export const REDIS_OLDEST: string;
export const POSTGRES_OLDEST_MAJOR: number;

export interface RedisServer {
  path: string;
  version: string;
}

export interface PostgresInstallation {
  /** The directory of `postgres`, `initdb` and the rest. */
  bin: string;
  version: string;
  major: number;
}

export function findRedisServers(): RedisServer[];
export function findPostgresInstallations(): PostgresInstallation[];
export function findRedisServer(): RedisServer | undefined;
export function findPostgres(wantedMajor?: number): PostgresInstallation | undefined;
