/**
 * Every check of `verify`, in the order of the report: what it says, and which promises it keeps. `flash-sale verify --list`
 * prints it, docs/VERIFY.md has the same table, and a test compares the two.
 */

/** The promises of docs/VERIFY.md that a check can show to be broken, by number. */
const PROMISES = {
  1: 'never oversold',
  2: 'first come, first served',
  4: 'an acknowledged reservation is never lost',
  5: 'repeating is safe',
  7: 'free units can be bought',
  9: 'verify tells the truth',
} as const;

interface CheckEntry {
  says: string;
  promises: readonly (keyof typeof PROMISES)[];
  /** Archived sales are compared within PostgreSQL. Default: sales that are not archived. */
  of?: 'archived' | 'both' | 'command';
}

const ENTRIES = {
  'sale-exists': {
    says: 'the sale that the command names exists; in the report only if it does not',
    promises: [9],
    of: 'command',
  },
  'redis-knows-the-sale': {
    says: 'Redis has the sale, and it is not being recovered',
    promises: [9],
  },
  'persister-has-caught-up': {
    says: 'PostgreSQL has the events that Redis had when the verification began',
    promises: [4],
  },
  'stock-adds-up': { says: 'per SKU: loaded = remaining + held + confirmed', promises: [1, 7] },
  'nothing-is-negative': { says: 'no count of stock is below 0', promises: [1] },
  'stock-is-what-the-ledger-says': {
    says: 'loaded units in Redis = applied changes in the stock ledger',
    promises: [1, 7],
  },
  'every-operation-is-applied': {
    says: 'recorded sale operations reach Redis, and Redis loses none',
    promises: [4, 5],
  },
  'never-oversold': {
    says: 'per SKU: rows that are reserved or confirmed <= loaded units',
    promises: [1],
    of: 'both',
  },
  'held-and-confirmed-are-rows': {
    says: 'the counts in Redis (of an archived sale: in PostgreSQL) = the sums of the rows as they were at that event',
    promises: [1, 4],
    of: 'both',
  },
  'redis-has-the-last-definition': {
    says: "Redis' definition, prices and limits = those of the last applied operation",
    promises: [5],
  },
  'the-sale-row-is-the-last-operation': {
    says: '`sales` and `sale_skus` = the definition of the last recorded operation',
    promises: [5],
  },
  'every-operation-is-audited': {
    says: 'each sale operation = its audit entry, with its outcome',
    promises: [5],
  },
  'the-ledger-follows-the-operations': {
    says: 'the stock ledger = the changes of the operations',
    promises: [1, 5],
  },
  'this-database-belongs-to-redis': {
    says: 'Redis stores the identity of this database, or none yet',
    promises: [4],
  },
  'both-servers-are-on-one-timeline': {
    says: 'timeline, fence and position floor agree; an open sale has no closing',
    promises: [1, 2],
  },
  'the-stream-has-what-is-not-drained': {
    says: 'the stream begins after the drained events and ends with the last one',
    promises: [4],
  },
  'the-checkpoint-is-in-the-stream': {
    says: 'the checkpoint lies between drained and last event, at its entry',
    promises: [4],
  },
  'the-order-has-every-position': {
    says: 'one entry in the order for each assigned position',
    promises: [2],
  },
  'nothing-is-left-of-a-rebuild': {
    says: 'no staged keys beside an open sale',
    promises: [7],
  },
  'every-recovery-is-audited': {
    says: 'each recovery and discarded dead letter = its audit entry',
    promises: [4],
  },
  'every-decision-is-a-row': {
    says: 'every position is a row, a known dead letter, or skipped by a recovery',
    promises: [2, 4],
  },
  'nothing-undecided-is-a-row': {
    says: 'PostgreSQL has no position or event that Redis did not assign',
    promises: [1, 2],
  },
  'every-event-is-kept': {
    says: 'PostgreSQL has every event once, except known dead letters',
    promises: [4],
    of: 'both',
  },
  'every-history-is-complete': {
    says: 'per reservation: events 1 to version without gaps, and the same status',
    promises: [4],
    of: 'both',
  },
  'one-answer-to-each-request': {
    says: 'an idempotency key has one reservation',
    promises: [5],
    of: 'both',
  },
  'nobody-is-above-the-limit': {
    says: 'no buyer has more units than the highest limit the sale ever had',
    promises: [7],
    of: 'both',
  },
  'no-hold-outlives-its-deadline': {
    says: 'a hold ends within 5 s after its deadline',
    promises: [7],
  },
  'time-goes-on': {
    says: "the sale's time in Redis is not before its latest decision",
    promises: [2],
  },
  'no-dead-letters': {
    says: 'every dead letter is written or discarded',
    promises: [4],
    of: 'both',
  },
  'rows-follow-from-their-history': {
    says: 'times, deadline, total, currency, request and id of a row, from its events',
    promises: [4, 5],
  },
  'each-transition-is-allowed': {
    says: 'each event of a reservation is an allowed transition',
    promises: [1, 5],
  },
  'positions-follow-the-events': {
    says: 'positions ascend with the numbers of their first events',
    promises: [2],
  },
  'withdrawn-units-are-in-the-ledger': {
    says: 'the stock ledger has the units of each cancellation without restock',
    promises: [1],
  },
  'cancelled-parts-are-in-the-rows': {
    says: 'each item has as many units cancelled in parts as its history',
    promises: [1, 4],
  },
  'prices-were-offered': {
    says: 'each unit price is one that an operation gave its SKU',
    promises: [5],
  },
  'the-line-is-counted-right': {
    says: 'the three structures of the waitlist have the same number of entries',
    promises: [7],
  },
  'the-line-is-known-by-quantity': {
    says: 'the entries by quantity are those in order, and the smallest is stored',
    promises: [7],
  },
  'everybody-in-line-is-found': {
    says: "every waitlist entry of a buyer is in the waitlist's order, and by quantity",
    promises: [2, 7],
  },
  'every-ticket-was-given': {
    says: 'no ticket of the waitlist is above the last that was given',
    promises: [2],
  },
  'every-reservation-in-redis-is-a-row': {
    says: 'each reservation in Redis equals its row',
    promises: [4, 5],
  },
  'every-hold-has-its-deadline': {
    says: 'each hold is among the deadlines that the sweep reads',
    promises: [7],
  },
  'merchant-notes-follow-the-history': {
    says: 'each payment and part that Redis knows is in the history, and vice versa',
    promises: [4, 5],
  },
  'every-row-is-in-redis': { says: 'each row has its reservation in Redis', promises: [4, 5] },
  'first-come-first-served': {
    says: 'each position belongs to the same buyer in Redis and PostgreSQL',
    promises: [2],
  },
  'the-archive-is-unchanged': {
    says: 'every row is as it was archived, except for changes within the rules',
    promises: [4],
    of: 'archived',
  },
  'nothing-is-held': { says: 'no hold is left', promises: [7], of: 'archived' },
} as const satisfies Record<string, CheckEntry>;

export type CheckName = keyof typeof ENTRIES;

export const CATALOGUE: Readonly<Record<CheckName, CheckEntry>> = ENTRIES;

/** One line per check, for `--list`. */
export function printableCatalogue(): string {
  const width = Math.max(...Object.keys(CATALOGUE).map((name) => name.length));
  const checks = Object.entries(CATALOGUE).map(
    ([name, { says, promises, of }]) =>
      `${name.padEnd(width)}  ${says} (${promises.join(', ')}${SCOPES[of ?? 'live']})`,
  );
  const promises = Object.entries(PROMISES).map(([number, promise]) => `  ${number}  ${promise}`);
  return [...checks, '', 'The numbers name the promises that a check keeps:', ...promises].join(
    '\n',
  );
}

const SCOPES = {
  live: '',
  both: '; also of archived sales',
  archived: '; of archived sales only',
  command: '',
} as const;
