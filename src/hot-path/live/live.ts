/**
 * `GET /v1/sales/{saleId}/live`: sales and one's own things as they change, over a WebSocket. The rules of
 * uWebSockets.js are those of exchange.ts, and two more: a WebSocket is void from its close handler on, and what it is
 * given to carry (`getUserData`) is copied property by property, so it carries one property.
 */

import type {
  HttpRequest,
  TemplatedApp,
  us_socket_context_t,
  WebSocket,
  WebSocketBehavior,
} from 'uWebSockets.js';
import type { Logger } from 'pino';
import type { HotPathConfig } from '../../config.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Authenticate } from '../admission/authenticate.ts';
import type { HashedName } from '../admission/hashed-name.ts';
import type { Handshake, HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import type { ServerLoad } from '../http/server-load.ts';
import type { SaleView, SaleViews } from '../sales/sale-views.ts';
import { BroadcastSchedule } from './broadcast-schedule.ts';
import { LiveClient } from './client.ts';
import { EventSubscriber } from './event-subscriber.ts';
import { ResyncQueue } from './resync-queue.ts';
import { Room, topicOf } from './room.ts';

/** Offered by browsers, which can set no header, together with `bearer.<token>`; the only one that is answered. */
const PROTOCOL = 'flash-sale';

/** What a client that does not read leaves unread in this process before it is dropped. */
const BACKPRESSURE_BYTES_MAX = 64 * 1024;
/** What a client says is ignored. */
const MESSAGE_BYTES_MAX = 1024;
const IDLE_SECONDS_MAX = 60;
/** A token is looked at once, when its bearer connects: so nobody stays for ever. */
const LIFETIME_MINUTES_MAX = 60;

const SERVICE_RESTART = 1012;
const POLICY_VIOLATION = 1008;
const SALE_GONE = 4404;

export interface LiveContext {
  shards: Shards;
  views: SaleViews;
  authenticate: Authenticate;
  traffic: ServerLoad;
  log: Logger;
  config: Pick<HotPathConfig, 'BUYER_AUTH' | 'LIVE_SUBSCRIBERS_MAX' | 'LIVE_PER_ADDRESS_MAX'>;
  /** A client was dropped for not reading. */
  onSlow: () => void;
}

interface Carried {
  client: LiveClient;
  view: SaleView;
}

/** What an upgrade asks for, copied: the request dies with its handler. */
export interface LiveRequest {
  saleId: string;
  /** Where it comes from; see client-address.ts. */
  address: string;
  /** Undefined: no token was shown. */
  buyer: HashedName | undefined;
  handshake: Handshake;
}

export class Live {
  readonly #parts: LiveContext;
  readonly #sales = new Map<string, Room>();
  readonly #syncs: ResyncQueue;
  readonly #channel: EventSubscriber;
  readonly #rounds: BroadcastSchedule;
  #app: TemplatedApp | undefined;
  #subscribers = 0;
  /** Only of addresses that have any. */
  readonly #subscribersByAddress = new Map<string, number>();

  constructor(parts: LiveContext) {
    this.#parts = parts;
    this.#syncs = new ResyncQueue(parts.shards, parts.log);
    this.#rounds = new BroadcastSchedule(
      (row) => this.#takeTurn(row),
      () => this.#subscribers,
    );
    this.#channel = new EventSubscriber(() => parts.shards.listener('live'), {
      heard: (saleId) => this.#sales.get(saleId)?.syncBuyers(),
      happened: (saleId, lines) => this.#sales.get(saleId)?.hear(lines),
    });
  }

  get subscribers(): number {
    return this.#subscribers;
  }

  /** How the WebSockets of this app behave; `upgrade` is left to the server. */
  behavior(app: TemplatedApp): WebSocketBehavior<Carried> {
    this.#app = app;
    return {
      maxBackpressure: BACKPRESSURE_BYTES_MAX,
      closeOnBackpressureLimit: true,
      maxPayloadLength: MESSAGE_BYTES_MAX,
      idleTimeout: IDLE_SECONDS_MAX,
      sendPingsAutomatically: true,
      maxLifetime: LIFETIME_MINUTES_MAX,
      open: (socket) => this.#opened(socket),
      message: (socket) => this.#heard(socket),
      ping: (socket) => this.#heard(socket),
      dropped: (socket) => this.#dropped(socket),
      close: (socket) => this.#closed(socket.getUserData().client),
    };
  }

  /** Undefined: a token was shown, and it is nobody's. */
  requestOf(
    saleId: string,
    address: string,
    request: HttpRequest,
    context: us_socket_context_t,
  ): LiveRequest | undefined {
    const offered = request.getHeader('sec-websocket-protocol').split(/\s*,\s*/);
    const bearer = offered.find((protocol) => protocol.startsWith('bearer.'));
    const shown = {
      authorization:
        request.getHeader('authorization') || (bearer ? `Bearer ${bearer.slice(7)}` : ''),
      buyerId: request.getHeader('x-buyer-id'),
    };
    const isAnonymous =
      (this.#parts.config.BUYER_AUTH === 'header' ? shown.buyerId : shown.authorization) === '';
    const buyer = isAnonymous ? undefined : this.#parts.authenticate(shown);
    if (!isAnonymous && buyer === undefined) return undefined;
    return {
      saleId,
      address,
      buyer,
      handshake: {
        key: request.getHeader('sec-websocket-key'),
        protocol: offered.includes(PROTOCOL) ? PROTOCOL : '',
        extensions: request.getHeader('sec-websocket-extensions'),
        context,
      },
    };
  }

  /** Makes the request a WebSocket, or refuses it, once the sale is known. */
  admit(exchange: HttpExchange, asked: LiveRequest, view: SaleView): void {
    const problemResponse = this.#refusalOf(view, asked.address);
    if (problemResponse) {
      exchange.respond(problemResponse);
      return;
    }
    const client = new LiveClient(asked, this.#rounds.nextRow());
    exchange.upgrade({ client, view } satisfies Carried, asked.handshake);
  }

  /** Sends everybody away, to come back to whatever process then listens. No new ones may come: see ServerLoad. */
  close(): void {
    for (const sale of this.#sales.values()) {
      this.#sendAway(sale, SERVICE_RESTART, 'service restart');
    }
    this.#rounds.stop();
    this.#syncs.close();
    this.#channel.close();
  }

  #refusalOf(view: SaleView, address: string): PreparedResponse | undefined {
    const { traffic, config } = this.#parts;
    const { LIVE_PER_ADDRESS_MAX: perAddressMax } = config;
    if (view.isRecovering) return PROBLEM_RESPONSES.recovering;
    const fromThere = this.#subscribersByAddress.get(address) ?? 0;
    if (perAddressMax > 0 && fromThere >= perAddressMax) return PROBLEM_RESPONSES.rate_limited;
    const isFull = this.#subscribers >= config.LIVE_SUBSCRIBERS_MAX;
    return traffic.draining || isFull ? PROBLEM_RESPONSES.overloaded : undefined;
  }

  #opened(socket: WebSocket<Carried>): void {
    const { client, view } = socket.getUserData();
    const { saleId } = client;
    this.#count(client, 1);
    client.opened(socket);
    let sale = this.#sales.get(saleId);
    if (!sale) {
      sale = new Room(view, {
        shards: this.#parts.shards,
        syncs: this.#syncs,
        log: this.#parts.log,
        publish: (topic, text) => this.#app!.publish(topic, text),
      });
      this.#sales.set(saleId, sale);
    }
    this.#see(sale);
    sale.add(client);
    socket.subscribe(topicOf(saleId, client.row));
    this.#rounds.start();
    if (client.buyerId === undefined) return;
    // Heard before it is read, so that nothing falls in between; not heard yet: read as soon as it is.
    if (this.#channel.isHeard(saleId)) this.#syncs.add(client);
    else this.#channel.want(saleId);
  }

  #count({ address }: LiveClient, change: 1 | -1): void {
    this.#subscribers += change;
    const count = (this.#subscribersByAddress.get(address) ?? 0) + change;
    if (count === 0) this.#subscribersByAddress.delete(address);
    else this.#subscribersByAddress.set(address, count);
  }

  #closed(client: LiveClient): void {
    this.#count(client, -1);
    client.closed();
    const sale = this.#sales.get(client.saleId);
    if (!sale) return;
    sale.remove(client);
    if (!sale.hasBuyers) this.#channel.drop(client.saleId);
    if (sale.isEmpty) this.#sales.delete(client.saleId);
  }

  #heard(socket: WebSocket<Carried>): void {
    const { client } = socket.getUserData();
    if (!client.hear()) client.end(POLICY_VIOLATION, 'this is for listening');
  }

  #dropped(socket: WebSocket<Carried>): void {
    const { client } = socket.getUserData();
    if (!client.isSlow) this.#parts.onSlow();
    client.isSlow = true;
  }

  #sendAway(sale: Room, code: number, reason: string): void {
    for (const client of sale.clients) client.end(code, reason);
  }

  #takeTurn(row: number): void {
    for (const sale of this.#sales.values()) {
      this.#see(sale);
      sale.tellRow(row);
      if (row === 0) {
        this.#keepFresh(sale);
        sale.lookAtPlaces();
      }
    }
  }

  /** Also says that the sale is in use, so that its view is read again and again. */
  #see(sale: Room): void {
    const lookup = this.#parts.views.peek(sale.saleId, Number.POSITIVE_INFINITY, performance.now());
    if (lookup?.outcome === 'known') sale.see(lookup.view);
  }

  /** A sale that is not there is not read by the timer of the views. A draft may have been deleted. */
  #keepFresh(sale: Room): void {
    if (
      this.#parts.views.peek(sale.saleId, Number.POSITIVE_INFINITY, performance.now())?.outcome ===
      'known'
    )
      return;
    this.#parts.views
      .read(sale.saleId)
      .then(({ outcome }) => {
        if (outcome === 'unknown_sale') this.#sendAway(sale, SALE_GONE, 'sale_not_found');
        return outcome;
      })
      .catch(() => undefined); // Redis is away: asked again the next round.
  }
}
