/** What a sale is doing now, in one word and one sentence, for people who look at it in the two minutes that matter. */
import { formatCount, formatUnits } from './format.js';

/** @import { SaleRow } from './shapes.js' */

/**
 * `until`: the time that a countdown runs to, and what happens then.
 *
 * @typedef {object} SaleState
 * @property {'draft' | 'scheduled' | 'open' | 'sold-out' | 'paused' | 'recovering' | 'unavailable' | 'ended' | 'archived'} key
 * @property {string} word
 * @property {string} sentence
 * @property {{ at: string, label: string } | undefined} until
 */

/**
 * @param {SaleRow & { archivedAt?: string | null }} sale
 * @param {number} nowMs By the sale's clock.
 * @returns {SaleState}
 */
export function saleStateOf(sale, nowMs) {
  const { status, startsAt, endsAt, redis, remaining, loaded, held } = sale;
  const end = endsAt === null ? undefined : { at: endsAt, label: 'Ends in' };
  const start = startsAt === null ? undefined : { at: startsAt, label: 'Opens in' };
  const hasStarted = startsAt === null || nowMs >= Date.parse(startsAt);
  if (redis === 'archived' || sale.archivedAt) {
    return state('archived', 'Archived', 'The sale is over. PostgreSQL has everything about it.');
  }
  if (status === 'draft') {
    const sentence = hasStarted
      ? 'Nobody can buy yet. As soon as you open it, buyers can.'
      : 'Nobody can buy yet. Open it before its start, or it does not start.';
    return state('draft', 'Draft', sentence, hasStarted ? undefined : start);
  }
  if (redis === 'away') {
    return state(
      'unavailable',
      'Redis unavailable',
      'Nobody can buy until Redis responds. The counts are unknown meanwhile; PostgreSQL has what was sold.',
      status === 'ended' ? undefined : end,
    );
  }
  if (status === 'ended') {
    return state(
      'ended',
      'Ended',
      held === null || held === 0
        ? 'Nobody can buy any more. All holds are settled.'
        : `Nobody can buy any more. ${formatUnits(held, 'unit is', 'units are')} still held and can be confirmed.`,
    );
  }
  if (redis === 'recovering' || redis === 'unknown') {
    return state(
      'recovering',
      'Recovering',
      'Nobody can buy for a moment. A persister compares Redis with PostgreSQL and then opens the sale by itself.',
      end,
    );
  }
  if (status === 'paused') {
    return state(
      'paused',
      'Paused',
      'Nobody can buy until it is resumed. Holds keep running, and merchants can confirm them.',
      end,
    );
  }
  if (!hasStarted) {
    return state('scheduled', 'Scheduled', 'It opens by itself. Nobody can buy before.', start);
  }
  if (remaining === 0 && loaded !== null && loaded > 0) {
    const sentence =
      held === null || held === 0
        ? 'Every unit is confirmed.'
        : `${formatUnits(held, 'unit is', 'units are')} held: those that are not confirmed in time are on sale again.`;
    return state('sold-out', 'Sold out', sentence, end);
  }
  return state(
    'open',
    'Open',
    `Buyers can buy. ${formatCount(remaining)} of ${formatUnits(loaded, 'unit')} are left.`,
    end,
  );
}

/**
 * @param {SaleState['key']} key
 * @param {string} word
 * @param {string} sentence
 * @param {SaleState['until']} [until]
 * @returns {SaleState}
 */
function state(key, word, sentence, until) {
  return { key, word, sentence, until };
}
