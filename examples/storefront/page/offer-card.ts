/** The card of one SKU: price, live stock, and one of buy, join the waitlist, leave it. */
import type { LiveState, Sale, Wait } from '../../../clients/typescript/src/index.ts';
import { create, createButton, setEnabled, setText, show } from './dom.ts';
import { formatMoney, unitsOf } from './words.ts';

export type Offer = Sale['skus'][number];

export interface OfferActions {
  buy(sku: string): void;
  join(sku: string): void;
  leave(): void;
}

/** Whether units can be bought now, and whether the sale is yet to start: see `main.ts`. */
export interface Moment {
  isOpen: boolean;
  isAhead: boolean;
  state: LiveState;
}

export class OfferCard {
  readonly element: HTMLLIElement = create('li', { className: 'card' });
  readonly #name: HTMLElement;
  readonly #price: HTMLElement;
  readonly #bar: HTMLProgressElement;
  readonly #left: HTMLElement;
  readonly #wait: HTMLElement;
  readonly #buy: HTMLButtonElement;
  readonly #join: HTMLButtonElement;
  readonly #leave: HTMLButtonElement;
  readonly #result: HTMLElement;
  /** All units, from before the start; 0: not known, because buyers are not told how many were loaded. */
  #all = 0;
  #isBusy = false;

  constructor(sku: string, actions: OfferActions) {
    this.element.tabIndex = -1;
    const top = create('div', { className: 'line', parent: this.element });
    this.#name = create('h3', { parent: top });
    this.#price = create('p', { className: 'price', parent: top });
    this.#bar = create('progress', { parent: this.element });
    this.#bar.ariaLabel = 'Units left';
    this.#left = create('p', { className: 'left soft', parent: this.element });
    this.#wait = create('p', { className: 'wait', parent: this.element });
    const buttons = create('div', { className: 'actions', parent: this.element });
    this.#buy = createButton('Buy one', buttons, () => actions.buy(sku));
    this.#join = createButton('Join the waitlist', buttons, () => actions.join(sku));
    this.#leave = createButton('Leave the waitlist', buttons, () => actions.leave());
    this.#result = create('p', { className: 'result', parent: this.element });
    this.#result.role = 'status';
  }

  update(offer: Offer, { isOpen, isAhead, state }: Moment): void {
    const wait = state.waits.find(({ sku }) => sku === offer.sku);
    if (isAhead || this.#all > 0) this.#all = Math.max(this.#all, offer.remaining);
    setText(this.#name, offer.name);
    setText(this.#price, formatMoney(offer.price, offer.currency));
    show(this.#bar, this.#all > 0);
    this.#bar.max = Math.max(this.#all, 1);
    this.#bar.value = offer.remaining;
    setText(this.#left, offer.soldOut ? 'Sold out' : `${unitsOf(offer.remaining)} left`);
    setText(this.#wait, wait ? describeWait(wait) : '');
    show(this.#wait, wait !== undefined);
    show(this.#buy, !offer.soldOut);
    const hasSome = state.reservations.some(
      ({ status, items }) =>
        status !== 'expired' &&
        status !== 'cancelled' &&
        items.some(({ sku }) => sku === offer.sku),
    );
    setText(this.#buy, hasSome ? 'Buy another' : 'Buy one');
    this.#buy.classList.toggle('main', !hasSome);
    show(this.#join, offer.soldOut && !wait && isOpen);
    show(this.#leave, wait !== undefined);
    setEnabled(this.#buy, isOpen && !this.#isBusy);
    setEnabled(this.#join, !this.#isBusy);
    setEnabled(this.#leave, !this.#isBusy);
  }

  /** While a request is in progress, its buttons do nothing. */
  setBusy(isBusy: boolean): void {
    this.#isBusy = isBusy;
    this.element.ariaBusy = String(isBusy);
  }

  say(text: string, kind: 'good' | 'bad' | 'neutral'): void {
    setText(this.#result, text);
    this.#result.classList.toggle('is-good', kind === 'good');
    this.#result.classList.toggle('is-bad', kind === 'bad');
  }
}

function describeWait({ place, quantity }: Wait): string {
  return `You are number ${place} on the waitlist, for ${unitsOf(quantity)}.`;
}
