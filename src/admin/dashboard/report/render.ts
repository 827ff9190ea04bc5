/** The report of a sale as one HTML file that needs nothing else: no script, no font, no image of another file. */
import { MINOR_UNIT_DIGITS } from '../../../domain/currency.ts';
import type { ReservationRow } from '../../reservations/reservation-queries.ts';
import { chart } from './chart.ts';
import { Html, html, table } from './html.ts';
import type { AuditRow, SaleReport } from './read-report.ts';
import { STYLE } from './style.ts';

const RESERVATION_HEADS = ['position', 'buyer', 'status', 'items', 'total', 'reserved'] as const;

export function renderReport(report: SaleReport): string {
  const { sale, madeAt, verification } = report;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${sale.name}: report</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<header>
<h1>${sale.name}</h1>
<p>Sale <code>${sale.saleId}</code>, ${sale.status}${sale.archivedAt ? ', archived' : ''}. Report of ${timeText(madeAt)} (UTC, like all times here).</p>
<p class="verdict ${verification.ok ? 'ok' : 'failed'}">${verdictText(report)}</p>
</header>
<main>
${summary(report)}
${timelines(report)}
${purchases(report)}
${reservations(report)}
${verificationSection(report)}
${recoveries(report)}
${audit(report)}
</main>
</body>
</html>
`;
  return page.text;
}

function verdictText({ verification: { ok, checks } }: SaleReport): string {
  const failed = checks.filter((check) => !check.ok).length;
  return ok
    ? `Every promise held: ${checks.length} checks passed.`
    : `${failed} of ${checks.length} checks failed.`;
}

function summary({ sale }: SaleReport): Html {
  const terms: [string, string][] = [
    ['Created', textOfTime(sale.createdAt)],
    ['Starts', textOfTime(sale.startsAt)],
    ['Ends', textOfTime(sale.endsAt)],
    ['Archived', textOfTime(sale.archivedAt)],
    ['Units per buyer', String(sale.perBuyerLimit)],
    ['Hold', `${sale.holdSeconds} s`],
  ];
  const skus = sale.skus.map((sku) => [
    html`<code>${sku.sku}</code>`,
    sku.name,
    money(BigInt(sku.price), sale.currency),
    ...[sku.loaded, sku.remaining, sku.held, sku.confirmed].map((count) => count ?? 'unknown'),
    sku.loaded ? percent(((sku.confirmed ?? 0) + (sku.held ?? 0)) / sku.loaded) : '',
  ]);
  return html`<section><h2>The sale</h2>
<dl>${terms.map(([term, text]) => html`<div><dt>${term}</dt><dd>${text}</dd></div>\n`)}</dl>
${table(['SKU', 'name', 'price', 'loaded', 'remaining', 'held', 'confirmed', 'sold'], skus)}
</section>`;
}

function timelines({ timelines: found }: SaleReport): Html {
  if (!found)
    return html`<section><h2>Timeline</h2><p class="none">Nothing was reserved.</p></section>`;
  const { decisions, stock, durableAfterMs } = found;
  const { p50, p99, max } = durableAfterMs;
  return html`<section><h2>Timeline</h2>
${chart(
  'Reservations',
  decisions.axis,
  [
    { name: 'decided', style: 'decided', values: decisions.decided },
    { name: 'durable in PostgreSQL', style: 'durable', values: decisions.durable },
  ],
  false,
)}
<p>From the decision to the row in PostgreSQL: half within ${p50} ms, 99 % within ${p99} ms, the last after ${max} ms. Two clocks measure this.</p>
${chart(
  'Units',
  stock.axis,
  [
    { name: 'confirmed', style: 'confirmed', values: stock.confirmed },
    { name: 'held', style: 'held', values: stock.held },
    { name: 'remaining', style: 'remaining', values: stock.remaining },
  ],
  true,
)}
</section>`;
}

function purchases({ purchases: found }: SaleReport): Html {
  if (!found) {
    return html`<section><h2>Responses to purchases</h2><p class="none">No hot path has reported any.</p></section>`;
  }
  const { outcomes, withoutRedis, latencyMs, hotPaths } = found;
  const all = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
  const rows = Object.entries(outcomes)
    .toSorted(([, one], [, other]) => other - one)
    .map(([outcome, count]) => [outcome, count, percent(count / all)]);
  const latency = latencyMs
    ? html`<p>Time in the hot path: half within ${latencyMs.p50} ms, 90 % within ${latencyMs.p90} ms, 99 % within ${latencyMs.p99} ms, the longest ${latencyMs.max} ms (each up to 19 % less).</p>`
    : html``;
  return html`<section><h2>Responses to purchases</h2>
<p>${all} responses of ${hotPaths} ${hotPaths === 1 ? 'hot path' : 'hot paths'}, ${withoutRedis} of them without a call to Redis. A hot path that was killed may have reported up to some seconds less.</p>
${latency}
${table(['outcome', 'responses', 'share'], rows)}
</section>`;
}

function reservations({ sale, reservations: found, first, newest }: SaleReport): Html {
  const rows = found.map(({ status, source, count, total }) => [
    status,
    source,
    count,
    money(BigInt(total), sale.currency),
  ]);
  const shown = (some: readonly ReservationRow[]) =>
    table(
      RESERVATION_HEADS,
      some.map((row) => [
        row.position,
        row.buyerId,
        row.status,
        row.items.map(({ sku, quantity }) => `${quantity} × ${sku}`).join(', '),
        money(BigInt(row.total), row.currency),
        timeText(row.reservedAt),
      ]),
    );
  return html`<section><h2>Reservations</h2>
${table(['status', 'source', 'reservations', 'total'], rows)}
<h3>The first</h3>${shown(first)}
<h3>The newest</h3>${shown(newest)}
</section>`;
}

function verificationSection({ verification, deadLetters }: SaleReport): Html {
  const rows = verification.checks.map(({ name, ok, expected, actual }) => [
    html`<span class="${ok ? 'ok' : 'failed'}">${ok ? 'passed' : 'FAILED'}</span>`,
    html`<code>${name}</code>`,
    expected,
    actual,
  ]);
  return html`<section><h2>Verification</h2>
<p>Redis and PostgreSQL were compared when this report was made. Unresolved dead letters: ${deadLetters}.</p>
${table(['', 'check', 'expected', 'found'], rows)}
</section>`;
}

function recoveries({ history }: SaleReport): Html {
  const rows = history.recoveries.map(({ startedAt, endedAt, result, reason }) => [
    textOfTime(startedAt),
    endedAt === null ? '' : `${(Date.parse(endedAt) - Date.parse(startedAt)) / 1_000} s`,
    result,
    reason,
  ]);
  return html`<section><h2>Recoveries</h2>
<p>The history is on timeline ${String(history.timeline)}. Each recovery begins the next one.</p>
${table(['started', 'took', 'result', 'reason'], rows)}
</section>`;
}

function audit({ audit: entries }: SaleReport): Html {
  const rows = entries.map(({ occurredAt, actor, action, details }) => [
    timeText(occurredAt),
    actor,
    action,
    detailsText({ details }),
  ]);
  return html`<section><h2>What operators did</h2>
${table(['time', 'actor', 'action', 'details'], rows)}
</section>`;
}

/** The definition of the sale is long, and stands at the top. */
function detailsText({ details }: Pick<AuditRow, 'details'>): string {
  return Object.entries(details)
    .filter(([name, value]) => name !== 'definition' && value !== null && value !== '')
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}

function money(minorUnits: bigint, currency: string): string {
  const digits = MINOR_UNIT_DIGITS.get(currency) ?? 0;
  const text = String(minorUnits).padStart(digits + 1, '0');
  const whole = BigInt(text.slice(0, text.length - digits)).toLocaleString('en');
  return `${whole}${digits > 0 ? `.${text.slice(-digits)}` : ''} ${currency}`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function timeText(time: Date): string {
  return time.toISOString().replace('T', ' ').replace('Z', '');
}

function textOfTime(iso: string | null): string {
  return iso === null ? '–' : timeText(new Date(iso));
}
