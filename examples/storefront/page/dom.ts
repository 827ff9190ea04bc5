/** Writes text into elements, and only changes: a screen reader repeats what is written again. */

export function find(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** `textContent` is always text, so a name such as `<script>` is shown as it is. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function create<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  choices: { className?: string; text?: string; parent?: HTMLElement } = {},
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  if (choices.className) element.className = choices.className;
  if (choices.text) element.textContent = choices.text;
  choices.parent?.append(element);
  return element;
}

export function createButton(
  text: string,
  parent: HTMLElement,
  press: () => void,
): HTMLButtonElement {
  const button = create('button', { text, parent });
  button.type = 'button';
  button.addEventListener('click', () => {
    if (button.ariaDisabled !== 'true') press();
  });
  return button;
}

/** Unlike with `disabled`, the button keeps the focus, and a screen reader still finds it. */
export function setEnabled(button: HTMLButtonElement, isEnabled: boolean): void {
  button.ariaDisabled = isEnabled ? null : 'true';
}

/**
 * Shows or hides. Focus on an element that disappears would be lost, and with it a keyboard user's place; the next
 * visible control of the same card takes it.
 */
export function show(element: HTMLElement, isShown: boolean): void {
  if (element.hidden === !isShown) return;
  const hadFocus = element.contains(document.activeElement);
  element.hidden = !isShown;
  if (!hadFocus || isShown) return;
  const card = element.closest<HTMLElement>('.card');
  const next = card?.querySelector<HTMLElement>(':not([hidden]) > button:not([hidden])');
  (next ?? card)?.focus();
}
