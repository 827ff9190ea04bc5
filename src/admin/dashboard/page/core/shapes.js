/**
 * The shapes of what the admin sends, as far as the page reads them. The API document has all of them.
 *
 * @typedef {'draft' | 'open' | 'paused' | 'ended'} SaleStatus
 * @typedef {'known' | 'recovering' | 'unknown' | 'away' | 'archived'} RedisState
 * @typedef {'reserved' | 'confirmed' | 'cancelled' | 'expired'} ReservationStatus
 * @typedef {'viewer' | 'merchant' | 'operator'} Role
 *
 * @typedef {object} Session
 * @property {Role} role
 * @property {string} actor
 * @property {string} csrfToken
 * @property {string} expiresAt
 *
 * @typedef {object} Sku
 * @property {string} sku
 * @property {string} name
 * @property {number} price
 * @property {number | null} perBuyerLimit
 * @property {number | null} loaded
 * @property {number | null} remaining
 * @property {number | null} held
 * @property {number | null} confirmed
 * @property {number | null} waiting
 * @property {number | null} tooFewForWaitlist
 *
 * @typedef {object} Sale
 * @property {string} saleId
 * @property {string} name
 * @property {SaleStatus} status
 * @property {string} currency
 * @property {string | null} startsAt
 * @property {string | null} endsAt
 * @property {number} perBuyerLimit
 * @property {number} holdSeconds
 * @property {number} waitlistHoldSeconds
 * @property {Sku[]} skus
 * @property {string} createdAt
 * @property {string} updatedAt
 * @property {string | null} archivedAt
 * @property {RedisState} redis
 * @property {{ lag: number | null, events: number | null, checkpoint: { event: number, updatedAt: string } | null }} persister
 * @property {{ aheadMs: number, differenceMs: number, lastJump: { ms: number, noticedAt: string } | null } | null} clock
 * @property {number} pendingOperations
 *
 * @typedef {object} SaleRow
 * @property {string} saleId
 * @property {string} name
 * @property {SaleStatus} status
 * @property {string | null} startsAt
 * @property {string | null} endsAt
 * @property {number | null} loaded
 * @property {number | null} remaining
 * @property {number | null} held
 * @property {number | null} confirmed
 * @property {number | null} waiting
 * @property {RedisState} redis
 *
 * @typedef {object} ProcessRow
 * @property {string} process
 * @property {string} id
 * @property {number} pid
 * @property {string} host
 * @property {string} startedAt
 * @property {string} seenAt
 * @property {boolean} ready
 * @property {number | null} [cpu]
 * @property {number | null} [loopUtilization]
 * @property {number | null} [backlogRows]
 * @property {number | null} [connections]
 * @property {number | null} [liveSubscribers]
 * @property {string} [version]
 *
 * @typedef {{ redis: { ok: boolean, detail?: string | null }, postgres: { ok: boolean, detail?: string | null } }} Servers
 *
 * @typedef {object} Overview
 * @property {string} at
 * @property {SaleRow[]} sales
 * @property {number} [moreSales]
 * @property {ProcessRow[] | null} processes
 * @property {Servers | null} servers
 *
 * @typedef {{ startedAt: string, endedAt: string | null, result: string | null, reason: string | null }} RecoveryRow
 * @typedef {{ fence?: string | null, timeline?: number | null, recoveries: RecoveryRow[] }} History
 *
 * @typedef {object} SaleLive
 * @property {string} at
 * @property {Sale} sale
 * @property {{ perSecond: Record<string, number>, withoutRedisPerSecond: number, total: Record<string, number> } | null} decisions
 * @property {{ p50: number, p90: number, p99: number, max: number } | null} latencyMs
 * @property {ProcessRow[] | null} processes
 * @property {Servers | null} servers
 * @property {Reservation[]} newest
 * @property {History | null} history
 *
 * @typedef {{ sku: string, quantity: number, cancelled?: number, unitPrice: number }} Item
 *
 * @typedef {object} Reservation
 * @property {string} reservationId
 * @property {string} saleId
 * @property {string} buyerId
 * @property {ReservationStatus} status
 * @property {Item[]} items
 * @property {number} total
 * @property {string} currency
 * @property {number} position
 * @property {'purchase' | 'waitlist'} source
 * @property {number} version
 * @property {string} reservedAt
 * @property {string} expiresAt
 * @property {string} updatedAt
 * @property {string} requestId
 *
 * @typedef {object} HistoryEvent
 * @property {number} version
 * @property {number} event
 * @property {ReservationStatus} status
 * @property {string} occurredAt
 * @property {string | null} actor
 * @property {string | null} [transition]
 * @property {string | null} paymentRef
 * @property {string | null} reason
 * @property {boolean | null} restock
 * @property {{ sku: string, quantity: number }[] | null} items
 * @property {string} detail
 * @property {string} requestId
 *
 * @typedef {Reservation & { history: HistoryEvent[] }} ReservationWithHistory
 *
 * @typedef {object} AuditEntry
 * @property {number} auditId
 * @property {string} occurredAt
 * @property {string} actor
 * @property {string} action
 * @property {string | null} saleId
 * @property {string} requestId
 * @property {Record<string, unknown>} details
 *
 * @typedef {object} DeadLetter
 * @property {number} deadLetterId
 * @property {string} saleId
 * @property {string} entryId
 * @property {number | null} event
 * @property {string} payload
 * @property {string} reason
 * @property {number} attempts
 * @property {string} createdAt
 * @property {string | null} retryRequestedAt
 * @property {string | null} resolvedAt
 * @property {string | null} discardedBy
 * @property {string | null} discardReason
 *
 * @typedef {object} Webhook
 * @property {string} webhookId
 * @property {string} url
 * @property {string} description
 * @property {string[] | null} events
 * @property {string | null} saleId
 * @property {'active' | 'paused' | 'disabled'} state
 * @property {string | null} pausedUntil
 * @property {number} failuresInRow
 * @property {string | null} lastError
 * @property {string | null} lastFailureAt
 * @property {string | null} lastSuccessAt
 * @property {number} pending
 * @property {number} dead
 * @property {string | null} earlierSecretsUntil
 * @property {string} createdAt
 *
 * @typedef {object} Delivery
 * @property {number} deliveryId
 * @property {string} messageId
 * @property {string} event
 * @property {string} saleId
 * @property {'pending' | 'delivered' | 'dead'} state
 * @property {number} attempts
 * @property {string | null} nextAttemptAt
 * @property {number | null} lastStatus
 * @property {string | null} lastError
 * @property {string} createdAt
 * @property {string | null} finishedAt
 *
 * @typedef {object} Recovery
 * @property {number} recoveryId
 * @property {string} actor
 * @property {'requested' | 'done'} state
 * @property {'renewed' | 'rebuilt' | 'removed' | 'blocked' | null} outcome
 * @property {Record<string, unknown>} report
 * @property {string} requestedAt
 * @property {string | null} finishedAt
 *
 * @typedef {{ name: string, ok: boolean, expected: string, actual: string }} Check
 * @typedef {{ ok: boolean, checks: Check[] }} Report
 *
 * @typedef {object} VerifyProgress
 * @property {'catching up' | 'checks' | 'reservations'} part
 * @property {number} done
 * @property {number} of 0: unknown.
 */

// oxlint-disable-next-line unicorn/require-module-specifiers -- Makes this file a module, whose types others import.
export {};
