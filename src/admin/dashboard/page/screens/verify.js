/** The promises of a sale, checked over both servers, as a report that people can read. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get, pathOf } from '../core/api.js';
import { serverNow } from '../core/clock.js';
import { formatCount, formatDateTime, formatDuration, formatUnits } from '../core/format.js';
import { html } from '../core/html.js';
import { notify } from '../core/notices.js';
import { Badge } from '../parts/badge.js';
import { Table } from '../parts/facts.js';
import { ErrorMessage } from '../parts/messages.js';
import { SaleScreen } from '../parts/sale-head.js';

/** @import { Check, Report, VerifyProgress } from '../core/shapes.js' */

/** @type {Record<VerifyProgress['part'], string>} */
const PARTS = {
  'catching up': 'Waiting up to 10 seconds until PostgreSQL has all events…',
  checks: 'Checking counts, histories and the waitlist…',
  reservations: 'Comparing every reservation…',
};

/** @param {{ saleId: string }} props */
export function VerifyScreen({ saleId }) {
  const report = useSignal(
    /** @type {(Report & { atMs: number, tookMs: number }) | undefined} */ (undefined),
  );
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const startedAt = useSignal(/** @type {number | undefined} */ (undefined));
  const progress = useSignal(/** @type {VerifyProgress | undefined} */ (undefined));
  useEffect(() => {
    report.value = undefined;
    error.value = undefined;
  }, [saleId]);

  const run = async () => {
    if (startedAt.value !== undefined) return;
    const began = performance.now();
    startedAt.value = began;
    progress.value = undefined;
    error.value = undefined;
    try {
      const result = await verify(saleId, (reached) => {
        progress.value = reached;
      });
      report.value = { ...result, atMs: serverNow(), tookMs: performance.now() - began };
      notify(
        result.ok ? 'Every promise is kept.' : 'A check has failed.',
        result.ok ? 'good' : 'bad',
      );
    } catch (failure) {
      error.value = /** @type {Error} */ (failure);
    }
    startedAt.value = undefined;
  };

  const isRunning = startedAt.value !== undefined;
  return html`<${SaleScreen} saleId=${saleId} tab="verify" what="Verify">
    <p class="lead">
      Compares everything that Redis and PostgreSQL have of this sale. It can run while the sale is open, and changes nothing.
    </p>
    <p>
      <button type="button" class="primary" onClick=${run} aria-disabled=${isRunning}>
        ${report.value ? 'Verify again' : 'Verify the sale'}
      </button>
    </p>
    ${startedAt.value !== undefined && html`<${Progress} startedAt=${startedAt.value} progress=${progress.value} />`}
    ${error.value && html`<${ErrorMessage} error=${error.value} onRetry=${run} />`}
    ${report.value && html`<${ReportView} report=${report.value} />`}
  <//>`;
}

/** A sale with millions of reservations takes minutes. */
const LONG = { timeoutMs: 600_000 };

/**
 * Follows the verification. If the stream ends early, a request without progress returns the report, or the reason.
 *
 * @param {string} saleId
 * @param {(progress: VerifyProgress) => void} onProgress
 * @returns {Promise<Report>}
 */
function verify(saleId, onProgress) {
  return new Promise((resolve) => {
    const stream = new EventSource(`/dashboard/verification?saleId=${encodeURIComponent(saleId)}`);
    const end = (/** @type {Report | Promise<Report>} */ report) => {
      // It would connect again, and verify again.
      stream.close();
      resolve(report);
    };
    stream.addEventListener('progress', ({ data }) => onProgress(JSON.parse(data)));
    stream.addEventListener('report', ({ data }) => end(JSON.parse(data)));
    for (const event of ['failed', 'error'])
      stream.addEventListener(event, () => end(get(pathOf('sales', saleId, 'verify'), {}, LONG)));
  });
}

/** @param {{ startedAt: number, progress: VerifyProgress | undefined }} props */
function Progress({ startedAt, progress }) {
  const seconds = useSignal(0);
  useEffect(() => {
    const timer = setInterval(() => {
      seconds.value = Math.floor((performance.now() - startedAt) / 1_000);
    }, 500);
    return () => clearInterval(timer);
  }, [startedAt]);
  return html`<div class="card progress">
    <progress
      aria-label="Verification"
      max="1"
      value=${progress?.part === 'reservations' && progress.of > 0 ? progress.done / progress.of : undefined}
    ></progress>
    <p role="status">${PARTS[progress?.part ?? 'catching up']}</p>
    <p class="aside">
      ${progress && progress.of > 0 && html`${formatCount(progress.done)} of ${formatCount(progress.of)}. `}
      Running for ${formatDuration(seconds.value)}.
    </p>
  </div>`;
}

/** @param {{ report: Report & { atMs: number, tookMs: number } }} props */
function ReportView({ report: { ok, checks, atMs, tookMs } }) {
  const failed = checks.filter((check) => !check.ok);
  return html`
    <section class="verdict ${ok ? 'good' : 'bad'}" aria-labelledby="verdict-heading">
      <h2 id="verdict-heading">${ok ? 'Every promise is kept' : `${formatUnits(failed.length, 'check')} failed`}</h2>
      <p>
        ${formatCount(checks.length)} checks at ${formatDateTime(atMs)}, in${' '}
        ${tookMs < 1_000 ? 'less than a second' : formatDuration(tookMs / 1_000)}.
      </p>
    </section>
    ${failed.length > 0 && html`<${CheckTable} caption="Failed checks" checks=${failed} />`}
    <${CheckTable} caption="Passed checks" checks=${checks.filter((check) => check.ok)} />
  `;
}

/** @param {{ caption: string, checks: Check[] }} props */
function CheckTable({ caption, checks }) {
  return html`<${Table} caption=${caption} head=${['Check', 'Result', 'Expected', 'Found']}>
    ${checks.map(
      ({ name, ok, expected, actual }) =>
        html`<tr key=${name}>
          <th scope="row">${wordsOf(name)}</th>
          <td><${Badge} tone=${ok ? 'good' : 'bad'}>${ok ? 'ok' : 'failed'}<//></td>
          <td>${expected}</td>
          <td>${actual}</td>
        </tr>`,
    )}
  <//>`;
}

/** `never-oversold` reads `Never oversold`. @param {string} name */
function wordsOf(name) {
  const words = name.replaceAll('-', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
