/** What needs attention in a sale and its processes, each with what helps. Nothing to say means that all is well. */
import { formatCount, formatDuration, formatMs, formatUnits } from './format.js';
import { linkTo } from './router.js';

/** @import { ProcessRow, Sale, SaleLive, Servers } from './shapes.js' */

const BEHIND_ROWS = 5_000;
/** While rows are missing, the newest row in PostgreSQL should not be older. */
const BEHIND_MS = 5_000;
/** Processes report every two seconds while nobody looks. */
const SILENT_MS = 4_000;
const BUSY_SHARE = 0.9;
const SLOW_MS = 1_000;

/** @typedef {{ tone: 'warn' | 'bad', text: string, help: string, href?: string }} Finding */

/** @param {SaleLive} numbers @param {number} nowMs @returns {Finding[]} */
export function diagnoseSale({ sale, latencyMs, processes, servers }, nowMs) {
  return [
    ...diagnoseServers(servers),
    ...diagnoseProcesses(processes, servers, nowMs),
    ...diagnoseState(sale),
    ...diagnoseRows(sale, nowMs),
    ...(latencyMs && latencyMs.p99 > SLOW_MS
      ? [
          warning(
            `1 buyer in 100 waits longer than ${formatMs(latencyMs.p99)}.`,
            'Add hot paths, or look for a slow disk under Redis.',
          ),
        ]
      : []),
  ];
}

/** @param {Servers | null} servers @returns {Finding[]} */
export function diagnoseServers(servers) {
  if (!servers) return [];
  const { redis, postgres } = servers;
  return [
    ...(redis.ok
      ? []
      : [
          alarm(
            `Redis is not available${because(redis.detail)}.`,
            'Nobody can buy. Start it again: every sale then opens by itself.',
          ),
        ]),
    ...(postgres.ok
      ? []
      : [
          warning(
            `PostgreSQL is not available${because(postgres.detail)}.`,
            'Buying goes on. Start it again: persisters then write what is missing.',
          ),
        ]),
  ];
}

/**
 * @param {ProcessRow[] | null} processes
 * @param {Servers | null} servers
 * @param {number} nowMs
 * @returns {Finding[]}
 */
export function diagnoseProcesses(processes, servers, nowMs) {
  // Processes report through Redis.
  if (!processes || !servers?.redis.ok) return [];
  if (processes.length === 0) {
    return [
      warning(
        'No hot path and no persister reports.',
        'None runs, or the user of Redis lacks commands: the logs say so.',
      ),
    ];
  }
  const isAlive = (/** @type {ProcessRow} */ { seenAt }) => nowMs - Date.parse(seenAt) < SILENT_MS;
  const alive = processes.filter(isAlive);
  const readyOf = (/** @type {string} */ kind) =>
    alive.filter(({ process, ready }) => process === kind && ready).length;
  return [
    ...(readyOf('hot-path') === 0
      ? [alarm('No hot path is ready.', 'Nobody can buy. Start one, or look at its log.')]
      : []),
    ...(readyOf('persister') === 0
      ? [
          warning(
            'No persister is ready.',
            'Buying goes on, but holds do not end and rows are not written. Start one.',
          ),
        ]
      : []),
    ...alive
      .filter(({ ready }) => !ready)
      .map(({ process, host, pid }) =>
        warning(`The ${process} ${host}:${pid} is not ready.`, 'Its /readyz says what it lacks.'),
      ),
    ...alive
      .filter(({ loopUtilization }) => (loopUtilization ?? 0) > BUSY_SHARE)
      .map(({ process, host, pid }) =>
        warning(`The ${process} ${host}:${pid} is fully busy.`, 'Add another one.'),
      ),
  ];
}

/** @param {Sale} sale @returns {Finding[]} */
function diagnoseState({ saleId, redis, status, pendingOperations, clock }) {
  /** @type {Finding[]} */
  const findings = [];
  if (redis === 'recovering' || (redis === 'unknown' && status !== 'draft')) {
    findings.push(
      warning(
        'The sale is being recovered.',
        'It takes a few seconds. If it lasts longer, the recoveries say why.',
        linkTo(['sales', saleId, 'recoveries']),
      ),
    );
  }
  if (pendingOperations > 0) {
    findings.push(
      warning(
        `${formatUnits(pendingOperations, 'change', 'changes')} by operators not in Redis yet.`,
        'They are applied by themselves as soon as Redis responds.',
      ),
    );
  }
  if (clock && clock.aheadMs > 1_000) {
    findings.push(
      warning(
        `The clock of Redis was set back by ${formatDuration(clock.aheadMs / 1_000)}.`,
        'Holds keep their length. Set the clock right.',
      ),
    );
  }
  return findings;
}

/** @param {Sale} sale @param {number} nowMs @returns {Finding[]} */
function diagnoseRows({ persister: { lag, checkpoint } }, nowMs) {
  if (lag === null || lag === 0) return [];
  const ageMs = checkpoint ? nowMs - Date.parse(checkpoint.updatedAt) : 0;
  if (lag < BEHIND_ROWS && ageMs < BEHIND_MS) return [];
  return [
    warning(
      `PostgreSQL is ${formatCount(lag)} events behind.`,
      'Nothing is lost: they are in Redis. Look at the persister and the disk of PostgreSQL.',
    ),
  ];
}

/** @param {string | null | undefined} detail */
function because(detail) {
  return detail ? ` (${detail})` : '';
}

/** @param {string} text @param {string} help @param {string} [href] @returns {Finding} */
function warning(text, help, href) {
  return { tone: 'warn', text, help, ...(href ? { href } : {}) };
}

/** @param {string} text @param {string} help @returns {Finding} */
function alarm(text, help) {
  return { tone: 'bad', text, help };
}
