/** The health of the processes and servers: what needs attention first, then each one. */
import { secondNow } from '../core/clock.js';
import { formatCount, formatDuration, formatPercent } from '../core/format.js';
import { html } from '../core/html.js';
import { Badge } from './badge.js';
import { Table } from './facts.js';

/** @import { Finding } from '../core/diagnosis.js' */
/** @import { ProcessRow, Servers } from '../core/shapes.js' */

const SILENT_MS = 4_000;

/** @param {{ findings: Finding[] }} props */
export function Findings({ findings }) {
  if (findings.length === 0) {
    return html`<p class="findings good"><${Badge} tone="good">All is well<//></p>`;
  }
  return html`<ul class="findings">
    ${findings.map(
      ({ tone, text, help, href }) =>
        html`<li class=${tone}>
          <strong>${text}</strong> ${help} ${href && html`<a href=${href}>Look</a>`}
        </li>`,
    )}
  </ul>`;
}

/** @param {{ servers: Servers | null }} props */
export function ServerList({ servers }) {
  /** @type {[string, 'redis' | 'postgres'][]} */
  const names = [
    ['Redis', 'redis'],
    ['PostgreSQL', 'postgres'],
  ];
  return html`<ul class="servers">
    ${names.map(([name, key]) => {
      const server = servers?.[key];
      const tone = server === undefined ? 'quiet' : server.ok ? 'good' : 'bad';
      const word = server === undefined ? 'unknown' : server.ok ? 'available' : 'unavailable';
      return html`<li>
        <strong>${name}</strong> <${Badge} tone=${tone}>${word}<//>
        ${server && !server.ok && server.detail && html`<span class="aside">${server.detail}</span>`}
      </li>`;
    })}
  </ul>`;
}

/** @param {{ processes: ProcessRow[] | null }} props */
export function ProcessTable({ processes }) {
  if (!processes) return html`<p class="aside">Unknown without the live numbers.</p>`;
  if (processes.length === 0) return html`<p class="aside">No process has reported.</p>`;
  const now = secondNow.value;
  const sorted = processes.toSorted((a, b) => order(a).localeCompare(order(b)));
  return html`<${Table}
    caption="Hot paths and persisters"
    head=${['Process', 'State', 'Busy', 'CPU', 'Rows behind', 'Connections', 'Running for']}
  >
    ${sorted.map((row) => {
      const isSilent = now - Date.parse(row.seenAt) > SILENT_MS;
      const tone = isSilent ? 'bad' : row.ready ? 'good' : 'warn';
      const word = isSilent ? 'silent' : row.ready ? 'ready' : 'not ready';
      return html`<tr>
        <th scope="row">${row.process} <span class="aside">${row.host}:${row.pid}</span></th>
        <td><${Badge} tone=${tone}>${word}<//></td>
        <td class="number">${formatPercent(row.loopUtilization)}</td>
        <td class="number">${formatPercent(row.cpu)}</td>
        <td class="number">${formatCount(row.backlogRows)}</td>
        <td class="number">${formatCount(row.connections)}</td>
        <td>${formatDuration(Math.max(0, now - Date.parse(row.startedAt)) / 1_000)}</td>
      </tr>`;
    })}
  <//>`;
}

/** @param {ProcessRow} row */
function order({ process, host, pid }) {
  return `${process} ${host} ${String(pid).padStart(8, '0')}`;
}
