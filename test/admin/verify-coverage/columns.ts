/**
 * How `verify` checks each column of each table. The test reads the columns from PostgreSQL, so a new column needs an
 * entry here:
 *
 *   'name-of-a-check'                        the check that fails when the value of one row changes
 *   { check, where?, to? }                   the same, with the rows to choose from, or with the new value, as SQL
 *   { free: 'reason' }                       nothing to compare it with
 *
 * Without `to`, a number grows by 1, a time by a second, a text gets one more letter.
 */
export type ColumnEntry =
  | string
  | { check: string; where?: string; to?: string }
  | { free: string };

const ARCHIVE = { free: 'null until the sale is archived; an archived sale has checks of its own' };
const OTHER_SALE = `'other-sale'`;
const OUTBOX = {
  free: 'a message on its way, removed once delivered; the tests of webhooks compare them with the events',
};
const ANNOUNCED = {
  free: 'what was last announced to endpoints; it follows the sale with a delay',
};
const LETTER = { free: 'evidence of an event that PostgreSQL rejected; nothing else has it' };
const COUNTED = { free: 'counted by hot paths, which forget it when they end; for the report' };
const TABLE_OF_SETTINGS = { free: 'a setting of an endpoint, of no sale' };

/** Rows of the stock ledger that no cancellation wrote. */
const BY_OPERATORS = 'operation IS NOT NULL';
const RECORD = 'every-reservation-in-redis-is-a-row';

export const COLUMNS: Readonly<Record<string, Readonly<Record<string, ColumnEntry>>>> = {
  sales: {
    sale_id: { free: 'the name under which everything is found; a foreign key protects it' },
    name: 'the-sale-row-is-the-last-operation',
    currency: { check: 'the-sale-row-is-the-last-operation', to: `'USD'` },
    status: { check: 'the-sale-row-is-the-last-operation', to: `'paused'` },
    starts_at: 'the-sale-row-is-the-last-operation',
    ends_at: 'the-sale-row-is-the-last-operation',
    per_buyer_limit: 'the-sale-row-is-the-last-operation',
    hold_seconds: 'the-sale-row-is-the-last-operation',
    waitlist_hold_seconds: 'the-sale-row-is-the-last-operation',
    last_operation: 'the-sale-row-is-the-last-operation',
    created_at: 'the-sale-row-is-the-last-operation',
    updated_at: 'the-sale-row-is-the-last-operation',
    timeline: 'both-servers-are-on-one-timeline',
    fence: 'both-servers-are-on-one-timeline',
    closing: { free: 'a random name that Redis drops when the sale opens' },
    position_floor: { check: 'both-servers-are-on-one-timeline', to: 'position_floor - 1' },
    archived_at: ARCHIVE,
    archive_marked_at: ARCHIVE,
    archive_digest: ARCHIVE,
    archive_blocked_by: ARCHIVE,
    archive_retry_at: ARCHIVE,
  },
  database_identity: {
    is_only: { free: 'a constraint allows one value' },
    identity: {
      check: 'this-database-belongs-to-redis',
      where: 'is_only',
      to: 'gen_random_uuid()',
    },
    paired_as: { free: 'only decides whether an empty Redis may be adopted' },
    created_at: { free: 'for people who query the table' },
  },
  sale_skus: {
    sale_id: { check: 'the-sale-row-is-the-last-operation', to: OTHER_SALE },
    sku: 'the-sale-row-is-the-last-operation',
    ordinal: { check: 'the-sale-row-is-the-last-operation', to: 'ordinal + 7' },
    name: 'the-sale-row-is-the-last-operation',
    price: 'the-sale-row-is-the-last-operation',
    per_buyer_limit: 'the-sale-row-is-the-last-operation',
    archived_confirmed: ARCHIVE,
  },
  sale_operations: {
    sale_id: {
      check: 'every-operation-is-audited',
      where: `action = 'pause'`,
      to: OTHER_SALE,
    },
    operation: { check: 'every-operation-is-audited', where: `action = 'pause'`, to: '999' },
    action: 'every-operation-is-audited',
    definition: {
      check: 'every-operation-is-audited',
      to: `jsonb_set(definition, '{perBuyerLimit}', '99')`,
    },
    changes: { check: 'the-ledger-follows-the-operations', to: `'[]'`, where: `action = 'load'` },
    outcome: { check: 'every-operation-is-audited', to: `'insufficient_stock'` },
    actor: 'every-operation-is-audited',
    request_id: 'every-operation-is-audited',
    idempotency_key: { free: 'the client sent it; it serves to find a repeated request' },
    request_digest: { free: 'of a request that is not stored' },
    created_at: 'every-operation-is-audited',
    applied_at: { check: 'every-operation-is-audited', to: 'NULL' },
  },
  stock_ledger: {
    sale_id: { check: 'the-ledger-follows-the-operations', to: OTHER_SALE, where: 'operation = 1' },
    operation: { check: 'the-ledger-follows-the-operations', to: '2', where: 'operation = 1' },
    event: 'withdrawn-units-are-in-the-ledger',
    sku: { check: 'the-ledger-follows-the-operations', where: BY_OPERATORS },
    delta: 'stock-is-what-the-ledger-says',
    reason: { check: 'the-ledger-follows-the-operations', where: BY_OPERATORS },
    outcome: {
      check: 'the-ledger-follows-the-operations',
      to: `'insufficient_stock'`,
      where: BY_OPERATORS,
    },
    loaded_after: 'the-ledger-follows-the-operations',
    remaining_after: { check: 'the-ledger-follows-the-operations', to: 'loaded_after + 1' },
    created_at: { check: 'the-ledger-follows-the-operations', where: BY_OPERATORS },
  },
  reservations: {
    reservation_id: 'every-reservation-in-redis-is-a-row',
    sale_id: { check: RECORD, to: OTHER_SALE },
    buyer_id: RECORD,
    status: { check: RECORD, to: `'expired'`, where: `status = 'reserved'` },
    items: { check: RECORD, to: `jsonb_set(items, '{0,unitPrice}', '1')` },
    total: RECORD,
    currency: { check: RECORD, to: `'USD'` },
    position: { check: RECORD, to: '5000' },
    version: RECORD,
    idempotency_key: RECORD,
    reserved_at: RECORD,
    expires_at: RECORD,
    updated_at: 'rows-follow-from-their-history',
    // Nothing else has the request of a reservation whose first event follows from the row.
    request_id: { check: 'rows-follow-from-their-history', where: 'first_event IS NULL' },
    traceparent: { check: 'rows-follow-from-their-history', where: 'first_event IS NULL' },
    persisted_at: { free: 'a measurement by a clock that nothing else uses' },
    first_event: 'every-event-is-kept',
  },
  reservation_events: {
    reservation_id: 'every-history-is-complete',
    version: { check: 'every-history-is-complete', to: 'version + 7' },
    sale_id: { check: 'every-event-is-kept', to: OTHER_SALE },
    event: { check: 'nothing-undecided-is-a-row', to: '99999' },
    status: { check: 'each-transition-is-allowed', to: `'confirmed'`, where: 'version = 1' },
    occurred_at: { check: 'rows-follow-from-their-history', where: 'version = 1' },
    detail: { check: 'rows-follow-from-their-history', where: 'version = 1' },
    request_id: { check: 'rows-follow-from-their-history', where: 'version = 1' },
    traceparent: { check: 'rows-follow-from-their-history', where: 'version = 1' },
  },
  checkpoints: {
    sale_id: { check: 'persister-has-caught-up', to: OTHER_SALE },
    entry_ms: 'the-checkpoint-is-in-the-stream',
    entry_sequence: 'the-checkpoint-is-in-the-stream',
    event: 'the-checkpoint-is-in-the-stream',
    updated_at: { free: 'for people' },
  },
  dead_letters: {
    dead_letter_id: { free: 'generated' },
    sale_id: { check: 'every-recovery-is-audited', to: OTHER_SALE },
    entry_id: LETTER,
    event: 'every-recovery-is-audited',
    currency: LETTER,
    payload: LETTER,
    reason: LETTER,
    attempts: LETTER,
    created_at: LETTER,
    retry_requested_at: LETTER,
    resolved_at: 'every-recovery-is-audited',
    discarded_by: 'every-recovery-is-audited',
    discard_reason: 'every-recovery-is-audited',
  },
  audit_log: {
    audit_id: { free: 'generated' },
    occurred_at: 'every-operation-is-audited',
    actor: 'every-operation-is-audited',
    action: { check: 'every-recovery-is-audited', where: `action = 'recover'` },
    sale_id: { check: 'every-operation-is-audited', to: OTHER_SALE },
    request_id: 'every-operation-is-audited',
    details: {
      check: 'every-operation-is-audited',
      to: `jsonb_set(details, '{definition,name}', '"another"')`,
    },
  },
  sale_purchase_counts: {
    sale_id: COUNTED,
    process_id: COUNTED,
    since: COUNTED,
    outcomes: COUNTED,
    purchases: COUNTED,
    without_redis: COUNTED,
    latencies: COUNTED,
    updated_at: COUNTED,
  },
  sale_recoveries: {
    recovery_id: { free: 'generated' },
    sale_id: { check: 'every-recovery-is-audited', to: OTHER_SALE },
    actor: 'every-recovery-is-audited',
    request_id: 'every-recovery-is-audited',
    state: { free: 'a constraint ties it to the outcome' },
    outcome: { check: 'every-recovery-is-audited', to: `'removed'` },
    report: { check: 'every-recovery-is-audited', to: `report || '{"seconds": 77}'` },
    requested_at: { free: 'for people; the recovery itself is dated by its end' },
    finished_at: 'every-recovery-is-audited',
  },
  webhook_endpoints: {
    webhook_id: TABLE_OF_SETTINGS,
    url: TABLE_OF_SETTINGS,
    description: TABLE_OF_SETTINGS,
    events: TABLE_OF_SETTINGS,
    sale_id: TABLE_OF_SETTINGS,
    secret: TABLE_OF_SETTINGS,
    earlier_secrets: TABLE_OF_SETTINGS,
    status: TABLE_OF_SETTINGS,
    paused_until: TABLE_OF_SETTINGS,
    failures_in_row: TABLE_OF_SETTINGS,
    pauses_in_row: TABLE_OF_SETTINGS,
    last_error: TABLE_OF_SETTINGS,
    last_failure_at: TABLE_OF_SETTINGS,
    last_success_at: TABLE_OF_SETTINGS,
    created_at: TABLE_OF_SETTINGS,
    updated_at: TABLE_OF_SETTINGS,
  },
  webhook_messages: {
    number: OUTBOX,
    message_id: OUTBOX,
    event_type: OUTBOX,
    sale_id: OUTBOX,
    payload: OUTBOX,
    created_at: OUTBOX,
  },
  webhook_deliveries: {
    delivery_id: OUTBOX,
    webhook_id: OUTBOX,
    message_id: OUTBOX,
    event_type: OUTBOX,
    sale_id: OUTBOX,
    payload: OUTBOX,
    state: OUTBOX,
    attempts: OUTBOX,
    due_at: OUTBOX,
    give_up_at: OUTBOX,
    last_status: OUTBOX,
    last_error: OUTBOX,
    created_at: OUTBOX,
    finished_at: OUTBOX,
  },
  sale_announcements: {
    sale_id: ANNOUNCED,
    phase: ANNOUNCED,
    sold_out: ANNOUNCED,
    sold_out_skus: ANNOUNCED,
    announcements: ANNOUNCED,
    looked_at_ms: ANNOUNCED,
    updated_at: ANNOUNCED,
  },
};
