/**
 * HTML as tagged templates: every value in a template is escaped, unless it is HTML itself. What people typed, such as the
 * name of a sale, can therefore never become markup.
 */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | number | Html | readonly Html[];

export function html(pieces: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(pieces.reduce((text, piece, index) => text + textOf(values[index - 1]!) + piece));
}

function textOf(value: Value): string {
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map(({ text }) => text).join('');
  return escapeHtml(String(value));
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character]!);
}

export function table(heads: readonly string[], rows: readonly (readonly Value[])[]): Html {
  if (rows.length === 0) return html`<p class="none">None.</p>`;
  const isNumber = rows[0]!.map((value) => typeof value === 'number');
  const headOf = (head: string, index: number) =>
    html`<th scope="col"${isNumber[index] === true ? NUMBER : ''}>${head}</th>`;
  const cell = (value: Value) =>
    html`<td${typeof value === 'number' ? NUMBER : ''}>${shown(value)}</td>`;
  return html`<div class="wide"><table><thead><tr>${heads.map(headOf)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`)}</tbody></table></div>`;
}

const NUMBER = new Html(' class="number"');

function shown(value: Value): Value {
  return typeof value === 'number' ? value.toLocaleString('en') : value;
}
