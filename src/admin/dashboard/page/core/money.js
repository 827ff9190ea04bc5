/**
 * Amounts of money. The API has them in minor units; people read and type major units. The number of digits comes from
 * ISO 4217 as the engine has it, not from the browser, whose data differs for some currencies.
 */

/** Every active currency by the digits of its minor unit; a test compares it with the engine's table. */
const CODES_BY_DIGITS = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  2: 'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG',
  3: 'BHD IQD JOD KWD LYD OMR TND',
  4: 'CLF UYW',
};

/** @type {ReadonlyMap<string, number>} */
export const CURRENCY_DIGITS = new Map(
  Object.entries(CODES_BY_DIGITS).flatMap(([digits, codes]) =>
    codes.split(' ').map((code) => /** @type {[string, number]} */ ([code, Number(digits)])),
  ),
);

/** @type {Map<string, Intl.NumberFormat>} */
const FORMATS = new Map();

/** @param {string} currency */
function digitsOf(currency) {
  return CURRENCY_DIGITS.get(currency) ?? 2;
}

/**
 * @param {number} minor
 * @param {string} currency
 */
export function formatMoney(minor, currency) {
  const digits = digitsOf(currency);
  let format = FORMATS.get(currency);
  if (!format) {
    format = new Intl.NumberFormat(undefined, {
      style: 'currency',
      currency,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    FORMATS.set(currency, format);
  }
  // As text: a sum of minor units may have more digits than a float keeps after the division.
  return format.format(/** @type {any} */ (majorText(minor, currency)));
}

/**
 * What a field for typing shows: `1299.5` is shown as `1299.50`.
 *
 * @param {number} minor
 * @param {string} currency
 */
export function majorText(minor, currency) {
  const digits = digitsOf(currency);
  if (digits === 0) return String(minor);
  const text = String(Math.abs(minor)).padStart(digits + 1, '0');
  const sign = minor < 0 ? '-' : '';
  return `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/**
 * Undefined: the text is not an amount of this currency. A comma is a decimal point too.
 *
 * @param {string} text
 * @param {string} currency
 * @returns {number | undefined}
 */
export function parseMoney(text, currency) {
  const digits = digitsOf(currency);
  const match = /^(\d+)(?:[.,](\d*))?$/.exec(text.trim());
  if (!match) return undefined;
  const [, whole = '', fraction = ''] = match;
  if (fraction.length > digits) return undefined;
  const minor = Number(whole + fraction.padEnd(digits, '0'));
  return Number.isSafeInteger(minor) ? minor : undefined;
}
