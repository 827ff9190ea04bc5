/** A labelled field of a form, with its hint and its error, which screen readers read with it. */
import { useId } from 'preact/hooks';
import { html } from '../core/html.js';

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.value
 * @param {(value: string) => void} props.onInput
 * @param {string} [props.type]
 * @param {any} [props.hint]
 * @param {string | undefined} [props.error]
 * @param {{ value: string, text: string }[]} [props.options] A list to choose from.
 * @param {string[]} [props.suggestions]
 * @param {boolean} [props.required]
 * @param {boolean} [props.saysOptional] Whether the label says that the field may stay empty.
 * @param {Record<string, unknown>} [props.attributes]
 */
export function Field({
  label,
  value,
  onInput,
  type = 'text',
  hint,
  error,
  options,
  suggestions,
  required = false,
  saysOptional = !required,
  attributes = {},
}) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  const common = {
    id,
    value,
    required,
    'aria-describedby': described === '' ? undefined : described,
    'aria-invalid': error ? 'true' : undefined,
    ...attributes,
  };
  const read = (/** @type {Event} */ event) =>
    onInput(/** @type {HTMLInputElement} */ (event.currentTarget).value);
  return html`<div class="field">
    <label for=${id}>${label}${saysOptional && html` <span class="optional">optional</span>`}</label>
    ${
      options
        ? html`<select ...${common} onChange=${read}>
            ${options.map((option) => html`<option value=${option.value} selected=${option.value === value}>${option.text}</option>`)}
          </select>`
        : html`<input
            type=${type}
            autocomplete="off"
            list=${suggestions ? `${id}-list` : undefined}
            ...${common}
            onInput=${read}
          />`
    }
    ${suggestions && html`<datalist id="${id}-list">${suggestions.map((each) => html`<option value=${each} />`)}</datalist>`}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="error" id="${id}-error">${error}</p>`}
  </div>`;
}

/**
 * @param {object} props
 * @param {any} props.label
 * @param {boolean} props.checked
 * @param {(checked: boolean) => void} props.onChange
 * @param {any} [props.hint]
 */
export function Checkbox({ label, checked, onChange, hint }) {
  const id = useId();
  return html`<div class="field check">
    <input
      type="checkbox"
      id=${id}
      checked=${checked}
      aria-describedby=${hint ? `${id}-hint` : undefined}
      onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.checked)}
    />
    <label for=${id}>${label}</label>
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
  </div>`;
}
