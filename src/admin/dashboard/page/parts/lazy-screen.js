/** Screens whose modules are loaded when they are first opened, so that the first screen does not wait for all of them. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { html } from '../core/html.js';
import { ErrorMessage, Loading } from './messages.js';

/**
 * @param {() => Promise<any>} load Resolves with the component.
 * @returns {(props: Record<string, unknown>) => any}
 */
export function lazyScreen(load) {
  /** @type {any} */
  let loaded;
  return function LazyScreen(props) {
    const isLoaded = useSignal(loaded !== undefined);
    const error = useSignal(/** @type {Error | undefined} */ (undefined));
    const start = async () => {
      error.value = undefined;
      try {
        loaded ??= await load();
        isLoaded.value = true;
      } catch {
        error.value = new Error('This part of the page could not be loaded.');
      }
    };
    useEffect(() => void start(), []);
    if (isLoaded.value && loaded) return html`<${loaded} ...${props} />`;
    return error.value
      ? html`<${ErrorMessage} error=${error.value} onRetry=${start} />`
      : html`<${Loading} />`;
  };
}
