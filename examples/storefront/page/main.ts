/** The page: follows the sale and shows it; sends what the buyer presses to the engine, or to the shop to pay. */
import {
  countdown,
  FlashSale,
  type LiveSale,
  type LiveState,
  type Reservation,
  type Retry,
  type Sale,
} from '../../../clients/typescript/src/index.ts';
import { find, setText, show } from './dom.ts';
import { OfferCard } from './offer-card.ts';
import { dropKey, takeKey } from './purchase-keys.ts';
import { ReservationCard } from './reservation-card.ts';
import { Account, type Card, type Payment, pay, readSettings } from './shop.ts';
import { describeProblem, formatDuration } from './words.ts';

const PAYMENTS: Record<Payment, [text: string, kind: 'good' | 'bad']> = {
  confirmed: ['Paid. It is yours.', 'good'],
  refused: ['The card was refused. Nothing was charged. Try another one.', 'bad'],
  refunded: ['The hold ended during the payment. You get the money back.', 'bad'],
  ended: ['The hold had ended. Nothing was charged.', 'bad'],
  not_found: ['The shop does not know this reservation.', 'bad'],
  unknown: ['The shop did not respond. Pay again: you are charged once.', 'bad'],
};

const settings = await readSettings();
const { hotPathUrl } = settings;
/** A link to another sale of the shop: `/?sale=phones`. */
const saleId = new URLSearchParams(location.search).get('sale') ?? settings.saleId;
let buyerId = '';
const account = new Account((id) => {
  buyerId = id;
  setText(find('buyer'), id);
});
const engine = new FlashSale({ url: hotPathUrl, token: () => account.token() });
const offers = new Map<string, OfferCard>();
const owned = new Map<string, ReservationCard>();
let live: LiveSale = follow();
let startTimer: AbortController | undefined;
let timedStart: string | null = null;
let saidState = '';

find('switch').addEventListener('click', () => void switchBuyer());

function follow(): LiveSale {
  return engine.watch(saleId, { onChange: render });
}

async function switchBuyer(): Promise<void> {
  live.close();
  for (const card of owned.values()) card.element.remove();
  owned.clear();
  for (const card of offers.values()) card.say('', 'neutral');
  await account.switchBuyer();
  live = follow();
}

function render(state: LiveState): void {
  const { sale } = state;
  renderConnection(state);
  if (!sale) return;
  document.title = sale.name;
  setText(find('sale-name'), sale.name);
  setText(find('sale-state'), describeSale(sale));
  show(find('empty'), false);
  followStart(sale);
  for (const offer of sale.skus) offerCardOf(offer.sku).update(offer, momentOf(state));
  for (const reservation of state.reservations) {
    reservationCardOf(reservation).update(reservation, (sku) => nameOf(sale, sku));
  }
  show(find('own'), state.reservations.length > 0);
  announceChange(sale);
}

function renderConnection({ connection, problem }: LiveState): void {
  const isLive = connection === 'live' && !problem;
  const text = isLive || connection === 'connecting' ? '' : describeProblem(problem);
  setText(find('connection'), text || (isLive ? 'Live' : 'Connecting…'));
  find('connection').classList.toggle('is-broken', text !== '');
}

function momentOf(state: LiveState) {
  const { sale } = state;
  const isAhead = sale !== undefined && msToStart(sale) > 0;
  return { isOpen: sale?.status === 'open' && !isAhead, isAhead, state };
}

function msToStart({ startsAt }: Sale): number {
  return startsAt === null ? 0 : Date.parse(startsAt) - engine.clock.now();
}

function describeSale(sale: Sale): string {
  if (sale.status === 'ended') return 'Ended';
  if (sale.status === 'paused') return 'Paused';
  if (sale.status === 'draft' || msToStart(sale) > 0) return 'Not started';
  return sale.skus.every(({ soldOut }) => soldOut) ? 'Sold out' : 'Open';
}

/** Only changes that a buyer waits for. */
function announceChange(sale: Sale): void {
  const state = describeSale(sale);
  if (saidState !== '' && state !== saidState) announce(`The sale: ${state.toLowerCase()}.`);
  saidState = state;
}

function announce(text: string): void {
  setText(find('news'), text);
}

function followStart(sale: Sale): void {
  const { startsAt, status } = sale;
  const isAhead = status === 'open' && startsAt !== null && msToStart(sale) > 0;
  if (timedStart === (isAhead ? startsAt : null)) return;
  startTimer?.abort();
  timedStart = isAhead ? startsAt : null;
  show(find('countdown'), isAhead);
  if (!isAhead) return;
  startTimer = new AbortController();
  const tick = (leftMs: number) => {
    setText(find('countdown'), `Starts in ${formatDuration(leftMs)}`);
    if (leftMs === 0) render(live.state);
  };
  // An abort is the only rejection.
  countdown(engine.clock, startsAt, tick, { signal: startTimer.signal }).catch(() => undefined);
}

function offerCardOf(sku: string): OfferCard {
  let card = offers.get(sku);
  if (!card) {
    card = new OfferCard(sku, {
      buy: (wanted) => void buy(wanted),
      join: (wanted) => void join(wanted),
      leave: () => void leave(sku),
    });
    offers.set(sku, card);
    find('offers').append(card.element);
  }
  return card;
}

function reservationCardOf(reservation: Reservation): ReservationCard {
  const { reservationId } = reservation;
  let card = owned.get(reservationId);
  if (!card) {
    const actions = {
      pay: (own: Reservation, chosen: Card) => void payFor(own, chosen),
      giveBack: (own: Reservation) => void giveBack(own),
      announce,
    };
    card = new ReservationCard(reservation, engine.clock, actions);
    owned.set(reservationId, card);
    // The newest first.
    find('reservations').prepend(card.element);
    if (reservation.source === 'waitlist' && reservation.status === 'reserved') {
      announce('The waitlist has units for you. Pay to keep them.');
    }
  }
  return card;
}

async function buy(sku: string): Promise<void> {
  await withOffer(sku, async (card, onRetry) => {
    await account.token();
    const key = takeKey(buyerId, sku);
    const result = await engine.buy(saleId, { sku }, { key, onRetry });
    if (result.outcome === 'unknown') {
      card.say('The outcome is not known yet. Press again: it is the same purchase.', 'bad');
      return;
    }
    dropKey(buyerId, sku);
    if (result.outcome === 'refused') {
      card.say(describeProblem(result.problem), 'bad');
      return;
    }
    live.accept(result.value);
    card.say(`It is held for you. You are number ${result.value.position}.`, 'good');
  });
}

async function join(sku: string): Promise<void> {
  await withOffer(sku, async (card, onRetry) => {
    const result = await engine.joinWaitlist(saleId, { sku }, { onRetry });
    if (result.outcome === 'done') card.say('You are on the waitlist.', 'good');
    else card.say(describeProblem(result.problem), 'bad');
  });
}

async function leave(sku: string): Promise<void> {
  await withOffer(sku, async (card, onRetry) => {
    const result = await engine.leaveWaitlist(saleId, { onRetry });
    if (result.outcome === 'done') card.say('You have left the waitlist.', 'neutral');
    else card.say(describeProblem(result.problem), 'bad');
  });
}

async function withOffer(
  sku: string,
  act: (card: OfferCard, onRetry: (retry: Retry) => void) => Promise<void>,
): Promise<void> {
  const card = offerCardOf(sku);
  card.setBusy(true);
  card.say('', 'neutral');
  render(live.state);
  try {
    await act(card, ({ problem }) => card.say(describeProblem(problem), 'neutral'));
  } catch {
    // Only the shop's login throws.
    card.say('The shop could not sign you in. Try again.', 'bad');
  } finally {
    card.setBusy(false);
    render(live.state);
  }
}

async function payFor(reservation: Reservation, chosen: Card): Promise<void> {
  const card = reservationCardOf(reservation);
  card.setBusy(true);
  card.say('Paying…', 'neutral');
  card.say(...PAYMENTS[await pay(reservation.reservationId, chosen)]);
  // "It is held for you" is no longer what matters.
  for (const offer of offers.values()) offer.say('', 'neutral');
  card.setBusy(false);
}

async function giveBack(reservation: Reservation): Promise<void> {
  const card = reservationCardOf(reservation);
  card.setBusy(true);
  const result = await engine.giveBack(reservation.reservationId);
  if (result.outcome === 'done') live.accept(result.value);
  else card.say(describeProblem(result.problem), 'bad');
  card.setBusy(false);
}

function nameOf({ skus }: Sale, wanted: string): string {
  return skus.find(({ sku }) => sku === wanted)?.name ?? wanted;
}
