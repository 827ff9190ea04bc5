/** What all servers that replicate have in common. */
import assert from 'node:assert/strict';
import type { Redis } from 'ioredis';
import { eventually } from '../../harness/eventually.ts';
import { PROMPT } from '../../harness/servers/replication.ts';
import type { Peer } from './peer-network.ts';

/** Replicas report once a second; a busy machine delays that. */
const MAX_LAG_SECONDS = 3;

/** `replicas`: all that can be promoted must have a decision before it is acknowledged. */
export function replicationArgs({ announcedPort, address }: Peer, replicas: number): string[] {
  const settings = {
    'bind-source-addr': address,
    'replica-announce-ip': '127.0.0.1',
    'replica-announce-port': announcedPort,
    'min-replicas-to-write': replicas,
    'min-replicas-max-lag': MAX_LAG_SECONDS,
    // A replica that was separated for some seconds continues where it was.
    'repl-backlog-size': '16mb',
    'repl-timeout': 5,
  };
  return [
    ...PROMPT,
    ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
  ];
}

/** Resolves when so many replicas are connected and have all that the master has by now. */
export async function untilReplicasHaveAll(master: Redis, count: number): Promise<void> {
  const written = Number(field(await master.info('replication'), 'master_repl_offset'));
  await eventually(async () => {
    const info = await master.info('replication');
    const offsets = [...info.matchAll(/^slave\d+:.*state=online,offset=(\d+)/gm)];
    const reached = offsets.filter(([, offset]) => Number(offset) >= written);
    assert.ok(reached.length >= count, `${reached.length} of ${count} replicas have everything`);
  });
}

function field(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
