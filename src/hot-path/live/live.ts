/**
 * `GET /v1/sales/{saleId}/live`: the WebSockets of all sales. Beside the rules in http-exchange.ts, uWebSockets.js has
 * two for WebSockets. One is invalid from its close handler on. Its user data is a shallow copy of the given object.
 */

import type {
  HttpRequest,
  TemplatedApp,
  us_socket_context_t,
  WebSocket,
  WebSocketBehavior,
} from 'uWebSockets.js';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { HotPathConfig } from '../../config.ts';
import { liveChannel } from '../../lua/keys.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Authenticate, CredentialsProblem } from '../admission/authenticate.ts';
import type { HashedName } from '../admission/hashed-name.ts';
import type { Handshake, HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import type { ServerLoad } from '../http/server-load.ts';
import { ChannelSubscriber, type Subscription } from '../sales/channel-subscriber.ts';
import type { SaleView, SaleViews } from '../sales/sale-views.ts';
import { BroadcastSchedule } from './broadcast-schedule.ts';
import { LiveClient } from './client.ts';
import { ResyncQueue } from './resync-queue.ts';
import { Room, topicOf } from './room.ts';

/** Browsers cannot set headers, so they offer this subprotocol together with `bearer.<token>`. The server selects this one. */
const PROTOCOL = 'flash-sale';

/** Unsent bytes from which a client that does not read is disconnected. */
const BACKPRESSURE_BYTES_MAX = 64 * 1024;
/** Messages from clients are ignored. */
const MESSAGE_BYTES_MAX = 1024;
const IDLE_SECONDS_MAX = 60;
/** The token is verified only when a client connects, so a connection must end at some time. */
const LIFETIME_MINUTES_MAX = 60;

/** The time in which clients are disconnected when the process stops. Shorter than `DRAIN_MS_MAX`, see hot-path.ts. */
const LEAVE_MS_MAX = 4_000;
const LEAVE_STEP_MS = 50;

const SERVICE_RESTART = 1012;
const POLICY_VIOLATION = 1008;
const SALE_GONE = 4404;
const SALE_ARCHIVED = 4410;

export interface LiveContext {
  shards: Shards;
  views: SaleViews;
  authenticate: Authenticate;
  load: ServerLoad;
  log: Logger;
  config: Pick<HotPathConfig, 'BUYER_AUTH' | 'LIVE_SUBSCRIBERS_MAX' | 'LIVE_PER_ADDRESS_MAX'>;
  /** A client that did not read was disconnected. */
  onSlow: () => void;
  /** A handler threw. */
  onFailed: () => void;
}

export interface LiveUserData {
  client: LiveClient;
  view: SaleView;
}

/** An upgrade request, copied, because the request is invalid after its handler. */
export interface LiveUpgrade {
  saleId: string;
  /** See client-address.ts. */
  address: string;
  /** Undefined: no token was sent. */
  buyer: HashedName | undefined;
  handshake: Handshake;
}

export class Live {
  readonly #context: LiveContext;
  readonly #rooms = new Map<string, Room>();
  readonly #resyncs: ResyncQueue;
  readonly #channels: ChannelSubscriber;
  readonly #schedule: BroadcastSchedule;
  #app: TemplatedApp | undefined;
  #subscribers = 0;
  /** Addresses without subscribers have no entry. */
  readonly #subscribersByAddress = new Map<string, number>();

  constructor(context: LiveContext) {
    this.#context = context;
    this.#resyncs = new ResyncQueue(context.shards, context.log);
    this.#schedule = new BroadcastSchedule(
      this.#contained((group: number) => this.#takeTurn(group)),
      () => this.#subscribers,
    );
    this.#channels = new ChannelSubscriber(() => context.shards.listener('live'));
  }

  get subscribers(): number {
    return this.#subscribers;
  }

  /** The settings and handlers of the WebSockets, except `upgrade`. */
  behavior(app: TemplatedApp): WebSocketBehavior<LiveUserData> {
    this.#app = app;
    return {
      maxBackpressure: BACKPRESSURE_BYTES_MAX,
      closeOnBackpressureLimit: true,
      maxPayloadLength: MESSAGE_BYTES_MAX,
      idleTimeout: IDLE_SECONDS_MAX,
      sendPingsAutomatically: true,
      maxLifetime: LIFETIME_MINUTES_MAX,
      open: this.#contained((socket) => this.#onOpen(socket)),
      message: this.#contained((socket) => this.#onReceived(socket)),
      ping: this.#contained((socket) => this.#onReceived(socket)),
      dropped: this.#contained((socket) => this.#onDropped(socket)),
      close: this.#contained((socket) => this.#onClose(socket.getUserData().client)),
    };
  }

  /** An exception in the handler of one WebSocket must not end the process. */
  #contained<Subject>(handle: (subject: Subject) => void): (subject: Subject) => void {
    return (subject) => {
      try {
        handle(subject);
      } catch (error) {
        this.#context.onFailed();
        this.#context.log.error({ err: error }, 'live handler failed');
      }
    };
  }

  parseUpgrade(
    address: string,
    request: HttpRequest,
    context: us_socket_context_t,
  ): LiveUpgrade | CredentialsProblem {
    const offered = request.getHeader('sec-websocket-protocol').split(/\s*,\s*/);
    const bearer = offered.find((protocol) => protocol.startsWith('bearer.'));
    const credentials = {
      authorization:
        request.getHeader('authorization') || (bearer ? `Bearer ${bearer.slice(7)}` : ''),
      buyerId: request.getHeader('x-buyer-id'),
    };
    const isAnonymous =
      (this.#context.config.BUYER_AUTH === 'header'
        ? credentials.buyerId
        : credentials.authorization) === '';
    const buyer = isAnonymous ? undefined : this.#context.authenticate(credentials);
    if (typeof buyer === 'string') return buyer;
    return {
      saleId: request.getParameter(0) ?? '',
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

  /** Upgrades the request to a WebSocket, or refuses it. */
  admit(exchange: HttpExchange, upgrade: LiveUpgrade, view: SaleView): void {
    const refusal = this.#refusalOf(view, upgrade.address);
    if (refusal) {
      exchange.respond(refusal);
      return;
    }
    const client = new LiveClient(upgrade, this.#schedule.nextGroup());
    exchange.upgrade({ client, view } satisfies LiveUserData, upgrade.handshake);
  }

  /**
   * Disconnects all clients within `LEAVE_MS_MAX`, a few at a time: they reconnect to another process, which they must not
   * all do at once. Requires that the process is draining, so that no client joins.
   */
  async drain(): Promise<void> {
    const perStep = Math.ceil(this.#subscribers / (LEAVE_MS_MAX / LEAVE_STEP_MS));
    while (this.#subscribers > 0) {
      this.#disconnectSome(perStep);
      await sleep(LEAVE_STEP_MS);
    }
  }

  close(): void {
    this.#disconnectSome(this.#subscribers);
    this.#schedule.stop();
    this.#resyncs.close();
    this.#channels.close();
  }

  #refusalOf(view: SaleView, address: string): PreparedResponse | undefined {
    const { load, config } = this.#context;
    const { LIVE_PER_ADDRESS_MAX: perAddressMax } = config;
    if (view.isRecovering) return PROBLEM_RESPONSES.recovering;
    const fromThere = this.#subscribersByAddress.get(address) ?? 0;
    if (perAddressMax > 0 && fromThere >= perAddressMax) return PROBLEM_RESPONSES.rate_limited;
    const isFull = this.#subscribers >= config.LIVE_SUBSCRIBERS_MAX;
    return load.isDraining || isFull ? PROBLEM_RESPONSES.overloaded : undefined;
  }

  #onOpen(socket: WebSocket<LiveUserData>): void {
    const { client, view } = socket.getUserData();
    const { saleId } = client;
    this.#count(client, 1);
    client.opened(socket);
    let room = this.#rooms.get(saleId);
    if (!room) {
      room = new Room(view, {
        shards: this.#context.shards,
        resyncs: this.#resyncs,
        log: this.#context.log,
        publish: (topic, text) => this.#app!.publish(topic, text),
      });
      this.#rooms.set(saleId, room);
    }
    this.#update(room);
    room.add(client);
    socket.subscribe(topicOf(saleId, client.group));
    this.#schedule.start();
    if (client.buyerId === undefined) return;
    // Subscribe before reading, so that no event is missed in between. Without a subscription, the read follows it.
    if (room.events?.isActive) this.#resyncs.add(client);
    else room.events ??= this.#subscribe(room);
  }

  #subscribe(room: Room): Subscription {
    return this.#channels.subscribe(liveChannel(room.saleId), {
      subscribed: this.#contained<void>(() => room.resyncBuyers()),
      received: this.#contained((message: Buffer) => room.receive(message.toString())),
    });
  }

  #count({ address }: LiveClient, change: 1 | -1): void {
    this.#subscribers += change;
    const count = (this.#subscribersByAddress.get(address) ?? 0) + change;
    if (count === 0) this.#subscribersByAddress.delete(address);
    else this.#subscribersByAddress.set(address, count);
  }

  #onClose(client: LiveClient): void {
    this.#count(client, -1);
    client.closed();
    const room = this.#rooms.get(client.saleId);
    if (!room) return;
    room.remove(client);
    if (!room.hasBuyers && room.events) {
      this.#channels.unsubscribe(room.events);
      room.events = undefined;
    }
    if (room.isEmpty) this.#rooms.delete(client.saleId);
  }

  #onReceived(socket: WebSocket<LiveUserData>): void {
    const { client } = socket.getUserData();
    if (!client.countReceived()) client.end(POLICY_VIOLATION, 'too many messages');
  }

  #onDropped(socket: WebSocket<LiveUserData>): void {
    const { client } = socket.getUserData();
    if (!client.isSlow) this.#context.onSlow();
    client.isSlow = true;
  }

  #disconnectSome(countMax: number): void {
    let count = 0;
    for (const room of this.#rooms.values()) {
      for (const client of room.clients) {
        if (count === countMax) return;
        client.end(SERVICE_RESTART, 'service restart');
        count += 1;
      }
    }
  }

  #disconnect(room: Room, code: number, reason: string): void {
    for (const client of room.clients) client.end(code, reason);
  }

  #takeTurn(group: number): void {
    for (const room of this.#rooms.values()) {
      const isKnown = this.#update(room);
      room.broadcastTo(group);
      if (group !== 0) continue;
      if (!isKnown) void this.#checkSaleOf(room);
      room.updateRanks();
    }
  }

  /** The peek marks the sale as used, so that its view keeps being refreshed. False: there is no view. */
  #update(room: Room): boolean {
    const { views } = this.#context;
    const lookup = views.peek(room.saleId, Number.POSITIVE_INFINITY, performance.now());
    if (lookup?.outcome !== 'known') return false;
    room.update(lookup.view);
    return true;
  }

  /** The views do not refresh an absent sale, for example a deleted draft or an archived sale. */
  async #checkSaleOf(room: Room): Promise<void> {
    // While Redis is unavailable, the next round tries again.
    const lookup = await this.#context.views.read(room.saleId).catch(() => undefined);
    if (lookup?.outcome === 'unknown_sale') this.#disconnect(room, SALE_GONE, 'sale_not_found');
    if (lookup?.outcome === 'sale_ended') this.#disconnect(room, SALE_ARCHIVED, 'sale_ended');
  }
}
