/** Checks of the numbers that both servers count by: fence, timeline, positions, events, checkpoint; and of recoveries. */
import { ordinalOf, parseGaps } from '../domain/positions.ts';
import { countEvents } from '../domain/short-record.ts';
import { REBUILD_KEYS, saleKey } from '../lua/keys.ts';
import { readDatabaseIdentity } from '../postgres/database-identity.ts';
import { type CheckDefinition, fromRedis, inOneStep, noneOf, type Verification } from './check.ts';

export const PROGRESS_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'this-database-belongs-to-redis',
    expected: 'Redis stores the identity of this database, or none yet',
    find: async ({ servers, saleId }) => {
      const stored = await servers.shards.identityOf(saleId);
      const { identity: own } = await readDatabaseIdentity(servers.sql);
      const isOwn = stored === undefined || stored.database === own;
      return {
        ok: isOwn,
        actual: isOwn
          ? (stored?.database ?? 'none yet')
          : `${stored.database}, and this database is ${own}`,
      };
    },
  },
  {
    name: 'both-servers-are-on-one-timeline',
    expected:
      'the same timeline and fence, no closing, and no position below the floor to be given again',
    find: async (verification) => {
      const { servers, saleId } = verification;
      const [row] = await servers.sql<{ timeline: number; fence: string; positionFloor: number }[]>`
        SELECT timeline, fence, position_floor FROM sales WHERE sale_id = ${saleId}`;
      const { sale } = await readNumbers(verification);
      const { timeline, fence, positionFloor } = row!;
      const wrong: string[] = [];
      if (String(timeline) !== (sale.timeline ?? '0')) {
        wrong.push(`timeline ${sale.timeline ?? 0} in Redis, ${timeline} in PostgreSQL`);
      }
      // Until its first recovery, a sale is on the server that took its creation.
      if (fence !== '' && fence !== sale.fence) {
        wrong.push(`open on ${sale.fence}, and on ${fence} in PostgreSQL`);
      }
      const closing = ['closing', 'closings', 'lastFence', 'wasPromoted', 'forgotten'].filter(
        (field) => field in sale,
      );
      if (closing.length > 0) wrong.push(`it is open and has ${closing.join(', ')}`);
      if (positionFloor > Number(sale.position)) {
        wrong.push(`position ${sale.position}, but none up to ${positionFloor} may be given`);
      }
      const lastGap = parseGaps(sale.gaps ?? '').at(-1);
      if (lastGap && lastGap.after + lastGap.count > positionFloor) {
        wrong.push(
          `positions up to ${lastGap.after + lastGap.count} were skipped, the floor is ${positionFloor}`,
        );
      }
      return noneOf(wrong, `timeline ${timeline}${fence === '' ? ', no recovery yet' : ''}`);
    },
  },
  {
    name: 'the-stream-has-what-is-not-drained',
    expected:
      'the stream has the events after the drained ones up to the last, in the currency of the sale',
    find: async (verification) => {
      const { sale, first, last } = await readNumbers(verification);
      const [events, drained] = [Number(sale.events), Number(sale.drained)];
      const wrong: string[] = [];
      if (!first || !last) {
        if (drained !== events) wrong.push(`no entry, ${drained} of ${events} drained`);
      } else {
        // An entry without a number cannot be parsed and becomes a dead letter.
        if (first.number !== undefined && first.number !== drained + 1) {
          wrong.push(`the first event is ${first.number}, ${drained} are drained`);
        }
        if (last.number !== undefined && last.number + last.lines - 1 !== events) {
          wrong.push(`the last event is ${last.number + last.lines - 1} of ${events}`);
        }
        for (const { currency } of [first, last]) {
          if (currency !== sale.currency)
            wrong.push(`an entry in ${currency}, not ${sale.currency}`);
        }
      }
      const all =
        drained === events
          ? `all ${events} events are drained`
          : `events ${drained + 1} to ${events}`;
      return noneOf(wrong, all);
    },
  },
  {
    name: 'the-checkpoint-is-in-the-stream',
    expected:
      'PostgreSQL has at least the drained events, except those of an entry that could not be parsed, at most those of Redis, and the last entry once it has all',
    find: async (verification) => {
      const before = await readCheckpoint(verification);
      const { sale } = await readNumbers(verification);
      const lastEntry = await lastEntryOf(verification);
      const after = await readCheckpoint(verification);
      const wrong: string[] = [];
      if (before.event > Number(sale.events)) {
        wrong.push(`event ${before.event} in PostgreSQL, ${sale.events} in Redis`);
      }
      // Nobody knows how many events an entry had that could not be parsed.
      if (!after.isBeforeUnreadable && after.event < Number(sale.drained)) {
        wrong.push(`${sale.drained} events drained, ${after.event} in PostgreSQL`);
      }
      // A rebuilt sale begins a stream. While events come, the last entry is a moving target.
      const hasAll = before.event === Number(sale.events) && after.event === before.event;
      if (hasAll && lastEntry !== undefined && lastEntry !== before.entry) {
        const { sale: again } = await readNumbers(verification);
        if (again.events === sale.events) {
          wrong.push(`entry ${before.entry} in PostgreSQL, ${lastEntry} in Redis`);
        }
      }
      const last = after.isBeforeUnreadable ? ', before an entry that could not be parsed' : '';
      return noneOf(wrong, `event ${after.event}${last}`);
    },
  },
  {
    name: 'the-order-has-every-position',
    expected: 'the order in Redis has one entry for each assigned position',
    find: async (verification) => {
      const { sale, order } = await readNumbers(verification);
      const assigned = ordinalOf(Number(sale.position), parseGaps(sale.gaps ?? ''));
      return { ok: order === assigned, actual: `${order} in the order, ${assigned} assigned` };
    },
  },
  {
    name: 'nothing-is-left-of-a-rebuild',
    expected: 'an open sale has no staged keys',
    find: async (verification) => {
      const { staged } = await readNumbers(verification);
      return noneOf(staged, 'none');
    },
  },
  {
    name: 'every-recovery-is-audited',
    expected:
      'each recovery and each discarded dead letter has an audit entry with the same content',
    find: async ({ servers: { sql }, saleId }) => {
      const recoveries = await sql<{ what: string }[]>`
        SELECT 'recovery ' || coalesce(r.recovery_id::text, a.details->>'recoveryId') AS what
        FROM (SELECT * FROM sale_recoveries WHERE sale_id = ${saleId} AND state = 'done') r
        FULL JOIN (SELECT * FROM audit_log WHERE sale_id = ${saleId} AND action = 'recover') a
          ON a.details->'recoveryId' = to_jsonb(r.recovery_id)
        WHERE (a.actor, a.request_id, a.occurred_at, a.details - 'recoveryId')
          IS DISTINCT FROM (r.actor, r.request_id, r.finished_at, r.report || jsonb_build_object('outcome', r.outcome))
        LIMIT 20`;
      const letters = await sql<{ what: string }[]>`
        SELECT 'dead letter ' || coalesce(l.dead_letter_id::text, a.details->>'deadLetterId') AS what
        FROM (SELECT * FROM dead_letters WHERE sale_id = ${saleId} AND discard_reason IS NOT NULL) l
        FULL JOIN (SELECT * FROM audit_log WHERE sale_id = ${saleId} AND action = 'discard-dead-letter') a
          ON a.details->'deadLetterId' = to_jsonb(l.dead_letter_id)
        WHERE (a.actor, a.occurred_at, a.details->>'reason', (a.details->>'event')::bigint)
          IS DISTINCT FROM (l.discarded_by, l.resolved_at, l.discard_reason, l.event)
        UNION ALL
        SELECT 'dead letter ' || dead_letter_id || ', which has no event in the history' FROM dead_letters letter
        WHERE sale_id = ${saleId} AND resolved_at IS NOT NULL AND discard_reason IS NULL AND event IS NOT NULL
          AND NOT EXISTS (SELECT FROM reservation_history
            WHERE sale_id = ${saleId} AND event = letter.event)
        LIMIT 20`;
      return noneOf([...recoveries, ...letters].map(({ what }) => what));
    },
  },
];

interface Entry {
  number: number | undefined;
  lines: number;
  currency: string | undefined;
}

/** At one moment. */
async function readNumbers({ servers, saleId }: Verification) {
  const key = (name: Parameters<typeof saleKey>[1]) => saleKey(saleId, name);
  const transaction = servers.shards
    .of(saleId)
    .client.multi()
    .hgetall(key('sale'))
    .llen(key('order'))
    .xrange(key('events'), '-', '+', 'COUNT', 1)
    .xrevrange(key('events'), '+', '-', 'COUNT', 1);
  for (const name of REBUILD_KEYS) transaction.exists(key(name));
  const [sale, order, first, last, ...staged] = await inOneStep(transaction);
  return {
    sale: sale as Record<string, string>,
    order: Number(order),
    first: entryIn(first),
    last: entryIn(last),
    staged: REBUILD_KEYS.filter((_, index) => staged[index] === 1),
  };
}

function entryIn(reply: unknown): Entry | undefined {
  const [entry] = reply as [string, string[]][];
  if (!entry) return undefined;
  const [, flat] = entry;
  const fieldOf = (name: string) => {
    const at = flat.findIndex((field, index) => index % 2 === 0 && field === name);
    return at === -1 ? undefined : flat[at + 1];
  };
  const number = Number(fieldOf('s'));
  return {
    number: Number.isSafeInteger(number) ? number : undefined,
    lines: countEvents(fieldOf('d') ?? ''),
    currency: fieldOf('c'),
  };
}

/** The id of the last entry that was ever added; undefined: none was, since the stream was made. */
async function lastEntryOf({ servers, saleId }: Verification): Promise<string | undefined> {
  const { client } = servers.shards.of(saleId);
  if ((await fromRedis(client.exists(saleKey(saleId, 'events')))) === 0) return undefined;
  const info = (await fromRedis(client.xinfo('STREAM', saleKey(saleId, 'events')))) as string[];
  const last = info[info.indexOf('last-generated-id') + 1];
  return last === '0-0' ? undefined : last;
}

async function readCheckpoint({ servers: { sql }, saleId }: Verification) {
  const [row] = await sql<{ event: number; entry: string; isBeforeUnreadable: boolean }[]>`
    SELECT coalesce(event, 0)::bigint AS event, entry_ms || '-' || entry_sequence AS entry,
      EXISTS (SELECT FROM dead_letters WHERE sale_id = ${saleId} AND event IS NULL
        AND string_to_array(entry_id, '-')::bigint[] > ARRAY[coalesce(entry_ms, 0), coalesce(entry_sequence, 0)]::bigint[])
        AS is_before_unreadable
    FROM sales LEFT JOIN checkpoints USING (sale_id) WHERE sale_id = ${saleId}`;
  return row!;
}
