/**
 * Parses REDIS_URL: one server, several nodes of a cluster, or sentinels that know the master.
 *
 *   redis://user:password@host:6379/0          rediss:// the same over TLS
 *   redis://a:6379,redis://b:6379              a cluster, by any of its nodes
 *   redis+sentinel://user:password@s1:26379/mymaster    repeated, separated by commas, for several sentinels
 *   rediss+sentinel://                         the same over TLS, to the sentinels and to the master
 *   …/mymaster?sentinelUsername=…&sentinelPassword=…    if the sentinels need their own credentials
 *
 * With several sentinels, the first URL has all settings; the others have only host and port.
 */
import type { RedisOptions } from 'ioredis';

/** The ioredis options that an address determines. */
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
  | 'sentinelUsername'
  | 'sentinelPassword'
  | 'sentinelTLS'
  | 'enableTLSForSentinelMode'
  | 'failoverDetector'
>;

/** Returns one server, or several nodes of a cluster. */
export function parseRedisUrl(text: string): [ServerAddress, ...ServerAddress[]] {
  const urls = text.split(',').map((part) => new URL(part));
  const [first, ...others] = urls as [URL, ...URL[]];
  if (first.protocol.endsWith('+sentinel:')) return [sentinelOptions(first, urls)];
  return [serverOptions(first), ...others.map(serverOptions)];
}

function sentinelOptions(first: URL, all: URL[]): ServerAddress {
  const sentinelUsername = first.searchParams.get('sentinelUsername');
  const sentinelPassword = first.searchParams.get('sentinelPassword');
  return {
    ...credentialsOf(first),
    name: first.pathname.slice(1) || 'mymaster',
    sentinels: all.map((url) => ({ host: hostOf(url), port: Number(url.port || 26_379) })),
    ...(sentinelUsername ? { sentinelUsername } : {}),
    ...(sentinelPassword ? { sentinelPassword } : {}),
    ...(first.protocol === 'rediss+sentinel:'
      ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }
      : {}),
    failoverDetector: true,
  };
}

function serverOptions(url: URL): ServerAddress {
  return {
    ...credentialsOf(url),
    host: hostOf(url),
    port: Number(url.port || 6379),
    db: Number(url.pathname.slice(1) || 0),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

function credentialsOf(url: URL): ServerAddress {
  return {
    ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
    ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
  };
}
