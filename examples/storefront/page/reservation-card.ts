/** The card of one reservation: its position, the timer of the hold, pay and give back. */
import {
  countdown,
  type Reservation,
  type ServerClock,
} from '../../../clients/typescript/src/index.ts';
import { create, createButton, setEnabled, setText, show } from './dom.ts';
import type { Card } from './shop.ts';
import { describeStatus, formatDuration, formatMoney } from './words.ts';

export interface ReservationActions {
  pay(reservation: Reservation, card: Card): void;
  giveBack(reservation: Reservation): void;
  /** A screen reader is told. */
  announce(text: string): void;
}

/** A screen reader is told once that so much is left. */
const WARNING_MS = 10_000;

export class ReservationCard {
  readonly element: HTMLLIElement = create('li', { className: 'card' });
  readonly #actions: ReservationActions;
  readonly #clock: ServerClock;
  readonly #title: HTMLElement;
  readonly #total: HTMLElement;
  readonly #state: HTMLElement;
  readonly #hold: HTMLElement;
  readonly #buttons: HTMLElement;
  readonly #pay: HTMLButtonElement;
  readonly #giveBack: HTMLButtonElement;
  readonly #result: HTMLElement;
  #reservation: Reservation;
  #timer: AbortController | undefined;
  #timedUntil = '';
  #isOver = false;
  #isBusy = false;

  constructor(reservation: Reservation, clock: ServerClock, actions: ReservationActions) {
    this.#reservation = reservation;
    this.#clock = clock;
    this.#actions = actions;
    this.element.tabIndex = -1;
    const top = create('div', { className: 'line', parent: this.element });
    this.#title = create('h3', { parent: top });
    this.#total = create('p', { className: 'price', parent: top });
    this.#state = create('p', { parent: this.element });
    this.#hold = create('p', { className: 'hold', parent: this.element });
    this.#hold.role = 'timer';
    this.#buttons = create('div', { className: 'actions', parent: this.element });
    const cards = this.#createCardChoice();
    this.#pay = createButton('Pay', this.#buttons, () =>
      this.#actions.pay(this.#reservation, cards.value as Card),
    );
    this.#pay.classList.add('main');
    this.#giveBack = createButton('Give back', this.#buttons, () =>
      this.#actions.giveBack(this.#reservation),
    );
    this.#result = create('p', { className: 'result', parent: this.element });
    this.#result.role = 'status';
  }

  update(reservation: Reservation, nameOf: (sku: string) => string): void {
    this.#reservation = reservation;
    const { items, total, currency, position, status, expiresAt } = reservation;
    const title = items.map(({ sku, quantity }) => `${quantity} × ${nameOf(sku)}`).join(', ');
    setText(this.#title, title);
    setText(this.#total, formatMoney(total, currency));
    setText(this.#state, `${describeStatus(reservation)}. Number ${position} in this sale.`);
    if (status !== 'reserved') this.stop();
    else if (this.#timedUntil !== expiresAt) this.#startTimer(expiresAt);
    this.#updateButtons();
  }

  setBusy(isBusy: boolean): void {
    this.#isBusy = isBusy;
    this.element.ariaBusy = String(isBusy);
    this.#updateButtons();
  }

  say(text: string, kind: 'good' | 'bad' | 'neutral'): void {
    setText(this.#result, text);
    this.#result.classList.toggle('is-good', kind === 'good');
    this.#result.classList.toggle('is-bad', kind === 'bad');
  }

  stop(): void {
    this.#timer?.abort();
    this.#timedUntil = '';
  }

  #startTimer(expiresAt: string): void {
    this.stop();
    this.#timedUntil = expiresAt;
    this.#isOver = false;
    this.#timer = new AbortController();
    const { signal } = this.#timer;
    let isWarned = false;
    const tick = (leftMs: number) => {
      setText(this.#hold, leftMs > 0 ? `Pay within ${formatDuration(leftMs)}` : '');
      this.#isOver = leftMs === 0;
      this.#updateButtons();
      if (leftMs === 0 || leftMs > WARNING_MS || isWarned) return;
      isWarned = true;
      this.#actions.announce(`${Math.ceil(leftMs / 1_000)} seconds are left to pay.`);
    };
    // An abort is the only rejection.
    countdown(this.#clock, expiresAt, tick, { signal }).catch(() => undefined);
  }

  #updateButtons(): void {
    const isHeld = this.#reservation.status === 'reserved' && !this.#isOver;
    show(this.#buttons, isHeld);
    show(this.#hold, isHeld);
    setEnabled(this.#pay, !this.#isBusy);
    setEnabled(this.#giveBack, !this.#isBusy);
  }

  #createCardChoice(): HTMLSelectElement {
    const label = create('label', { text: 'Card: ', parent: this.#buttons });
    const choice = create('select', { parent: label });
    const cards: [Card, string][] = [
      ['works', 'a card that works'],
      ['refused', 'a card that is refused'],
    ];
    for (const [value, text] of cards) create('option', { text, parent: choice }).value = value;
    return choice;
  }
}
