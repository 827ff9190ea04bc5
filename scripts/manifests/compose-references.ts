/**
 * What no schema can know about docker-compose.yml: that its parts, the configuration and .env.example agree.
 */
import { parse } from 'yaml';
import { z } from 'zod';
import type { VARIABLES } from '../../src/config.ts';

const scalar = z.union([z.string(), z.number(), z.boolean()]);

const composeShape = z.object({
  services: z.record(
    z.string(),
    z.looseObject({
      build: z.string().optional(),
      command: z.array(scalar).optional(),
      environment: z.record(z.string(), scalar).default({}),
      ports: z.array(z.string()).default([]),
      volumes: z.array(z.string()).default([]),
      healthcheck: z
        .looseObject({ test: z.array(z.string()).optional(), disable: z.boolean().optional() })
        .optional(),
      depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
      restart: z.string().optional(),
    }),
  ),
  volumes: z.record(z.string(), z.unknown()).default({}),
});
type Compose = z.infer<typeof composeShape>;
type Service = Compose['services'][string];

export interface ComposeSurroundings {
  /** What each subcommand reads. */
  variables: typeof VARIABLES;
  /** The names that .env.example lists. */
  listed: ReadonlySet<string>;
}

/** One sentence for each thing that does not fit; none when all does. */
export function composeComplaints(text: string, surroundings: ComposeSurroundings): string[] {
  const parsed = composeShape.safeParse(parse(text, { merge: true }));
  if (!parsed.success) return [`not in the form that is checked here: ${parsed.error.message}`];
  const compose = parsed.data;
  const complaints = interpolationComplaints(text, surroundings.listed);
  for (const [name, service] of Object.entries(compose.services)) {
    const own = [
      ...(service.build === undefined ? [] : variableComplaints(service, surroundings.variables)),
      ...urlComplaints(service, compose),
      ...portComplaints(service),
      ...dependencyComplaints(service, compose),
      ...volumeComplaints(service, compose),
    ];
    complaints.push(...own.map((complaint) => `${name}: ${complaint}`));
  }
  return [...complaints, ...redisComplaints(compose)];
}

function interpolationComplaints(text: string, listed: ReadonlySet<string>): string[] {
  const used = new Set([...text.matchAll(/\$\{([A-Z0-9_]+)/g)].map((match) => match[1]!));
  return [...used]
    .filter((name) => !listed.has(name))
    .map((name) => `\${${name}} is not in .env.example`);
}

/** An engine's container may set what its process reads, has to offer all of it, and nothing else. */
function variableComplaints(service: Service, variables: typeof VARIABLES): string[] {
  const subcommand = String(service.command?.[0] ?? '');
  const read = new Map<string, string[]>(Object.entries(variables)).get(subcommand);
  if (!read) return [`"${subcommand}" is not a subcommand that src/config.ts knows`];
  const set = Object.keys(service.environment);
  return [
    ...set
      .filter((name) => !read.includes(name))
      .map((name) => `sets ${name}, which ${subcommand} does not read`),
    ...read
      .filter((name) => !set.includes(name))
      .map((name) => `does not pass on ${name}, which ${subcommand} reads`),
  ];
}

/** Hosts in URLs are services, and their ports are the ones that the services listen on. */
function urlComplaints(service: Service, compose: Compose): string[] {
  const complaints: string[] = [];
  for (const [name, value] of Object.entries(service.environment)) {
    // Passwords come by interpolation, which may hold anything; only what follows matters here.
    const url = /^[a-z+]+:\/\/(?:[^/]*@)?([a-z0-9-]+):(\d+)/.exec(
      String(value).replaceAll(/\$\{[^}]*\}/g, 'value'),
    );
    if (!url) continue;
    const [, host, port] = url;
    const target = compose.services[host!];
    if (!target) complaints.push(`${name} names ${host}, which is no service`);
    else if (!portsOf(host!, target).includes(Number(port))) {
      complaints.push(`${name} asks ${host} at ${port}, where it does not listen`);
    }
  }
  return complaints;
}

const WELL_KNOWN_PORTS: Record<string, number> = { redis: 6379, postgres: 5432 };

function portsOf(name: string, service: Service): number[] {
  const own = Object.entries(service.environment).filter(([key]) => key.endsWith('_PORT'));
  const wellKnown = WELL_KNOWN_PORTS[name];
  return [...own.map(([, value]) => Number(value)), ...(wellKnown ? [wellKnown] : [])];
}

function portComplaints(service: Service): string[] {
  const listens = portsOf('', service);
  const complaints: string[] = [];
  for (const published of service.ports) {
    const target = Number(/:(\d+)$/.exec(published)?.[1]);
    if (!listens.includes(target)) complaints.push(`publishes ${target}, where nobody listens`);
    if (!published.startsWith(`\${PUBLISH_ON:-127.0.0.1}:`)) {
      complaints.push(`publishes ${published}, not on the loopback address by default`);
    }
  }
  for (const [, port] of (service.healthcheck?.test ?? [])
    .join(' ')
    .matchAll(/127\.0\.0\.1:(\d+)/g)) {
    if (!listens.includes(Number(port))) complaints.push(`its health check asks port ${port}`);
  }
  return complaints;
}

function dependencyComplaints(service: Service, compose: Compose): string[] {
  const complaints: string[] = [];
  for (const [name, { condition }] of Object.entries(service.depends_on)) {
    const other = compose.services[name];
    if (!other) complaints.push(`depends on ${name}, which is no service`);
    else if (condition === 'service_healthy' && !other.healthcheck?.test) {
      complaints.push(`waits for ${name} to be healthy, which has no health check`);
    } else if (
      condition === 'service_completed_successfully' &&
      other.restart === 'unless-stopped'
    ) {
      complaints.push(`waits for the end of ${name}, which is restarted when it ends`);
    }
  }
  return complaints;
}

function volumeComplaints(service: Service, compose: Compose): string[] {
  return service.volumes
    .map((volume) => volume.split(':')[0]!)
    .filter((source) => !source.startsWith('.') && !(source in compose.volumes))
    .map((source) => `mounts ${source}, which is not among the volumes`);
}

/** The settings without which the engine refuses to sell (src/redis/server-requirements.ts). */
export function redisSettingComplaints(words: readonly string[]): string[] {
  const demands = { appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' };
  return Object.entries(demands)
    .filter(([setting, value]) => words[words.indexOf(`--${setting}`) + 1] !== value)
    .map(([setting, value]) => `redis: ${setting} is not ${value}`);
}

function redisComplaints(compose: Compose): string[] {
  const redis = compose.services.redis;
  if (!redis) return ['there is no service redis'];
  return redisSettingComplaints((redis.command ?? []).map(String));
}
