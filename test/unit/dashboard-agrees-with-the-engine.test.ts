/**
 * What the dashboard's page must know as the engine does: the digits of each currency, so that it shows and reads amounts
 * exactly, and the events of webhooks.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  CURRENCY_DIGITS,
  formatMoney,
  majorText,
  parseMoney,
} from '../../src/admin/dashboard/page/core/money.js';
import { WEBHOOK_EVENTS as OFFERED_EVENTS } from '../../src/admin/dashboard/page/core/webhook-events.js';
import { MINOR_UNIT_DIGITS } from '../../src/domain/currency.ts';
import { PRICE_MAX } from '../../src/domain/identifiers.ts';
import { WEBHOOK_EVENTS } from '../../src/domain/webhook.ts';

void test('every currency has the digits that the engine uses', () => {
  const sorted = (digits: ReadonlyMap<string, number>) =>
    [...digits].toSorted(([a], [b]) => a.localeCompare(b));
  assert.deepEqual(sorted(CURRENCY_DIGITS), sorted(MINOR_UNIT_DIGITS));
});

void test('a webhook can be told of every event', () => {
  assert.deepEqual(OFFERED_EVENTS, WEBHOOK_EVENTS);
});

void test('an amount that is shown for typing is read as the same amount', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: PRICE_MAX }),
      fc.constantFrom(...MINOR_UNIT_DIGITS.keys()),
      (minor, currency) => {
        const text = majorText(minor, currency);
        assert.equal(parseMoney(text, currency), minor);
        // Digits are grouped, none is lost.
        assert.equal(formatMoney(minor, currency).replaceAll(/\D/g, ''), text.replace('.', ''));
      },
    ),
  );
});

void test('what is not an amount of the currency is refused', () => {
  assert.equal(parseMoney('12,5', 'EUR'), 1_250);
  assert.equal(parseMoney('12', 'JPY'), 12);
  for (const [text, currency] of [
    ['12.5', 'JPY'],
    ['12.345', 'EUR'],
    ['-1', 'EUR'],
    ['1e3', 'EUR'],
    ['', 'EUR'],
    ['1.000,00', 'EUR'],
  ] as const) {
    assert.equal(parseMoney(text, currency), undefined, `${text} ${currency}`);
  }
});
