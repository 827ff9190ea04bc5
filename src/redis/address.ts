/**
 * REDIS_URL: one server, several nodes of a cluster, or sentinels that know where the master is.
 *
 *   redis://user:password@host:6379/0          rediss:// the same over TLS
 *   redis://a:6379,redis://b:6379              a cluster, by any of its nodes
 *   redis+sentinel://user:password@s1:26379/mymaster    repeated, separated by commas, for several sentinels
 */
import type { RedisOptions } from 'ioredis';

/** The part of ioredis' options that an address decides. */
export type ServerAddress = Pick<
  RedisOptions,
  | 'host'
  | 'port'
  | 'db'
  | 'username'
  | 'password'
  | 'tls'
  | 'name'
  | 'sentinels'
  | 'failoverDetector'
>;

export type RedisAddress =
  | { kind: 'server'; options: ServerAddress }
  | { kind: 'cluster'; seeds: ServerAddress[] };

export function parseRedisUrl(text: string): RedisAddress {
  const urls = text.split(',').map((part) => new URL(part));
  if (urls[0]!.protocol === 'redis+sentinel:') {
    return {
      kind: 'server',
      options: {
        ...credentialsOf(urls[0]!),
        name: urls[0]!.pathname.slice(1) || 'mymaster',
        sentinels: urls.map((url) => ({ host: url.hostname, port: Number(url.port || 26_379) })),
        failoverDetector: true,
      },
    };
  }
  if (urls.length === 1) return { kind: 'server', options: serverOptions(urls[0]!) };
  return { kind: 'cluster', seeds: urls.map(serverOptions) };
}

function serverOptions(url: URL): ServerAddress {
  return {
    ...credentialsOf(url),
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 6379),
    db: Number(url.pathname.slice(1) || 0),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

function credentialsOf(url: URL): ServerAddress {
  return {
    ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
    ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
  };
}
