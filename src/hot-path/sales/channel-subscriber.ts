/**
 * Receives the messages of Redis' publish/subscribe, on one connection for all channels that are subscribed to. Messages
 * are lost while the connection is down, so a listener must find out what it missed after every (re)subscription.
 */
import type { Redis } from 'ioredis';

/** Detects a connection that is broken but not closed. */
const PING_INTERVAL_MS = 5_000;

export interface ChannelListener {
  /** From now on no message of this channel is missed; the listener must find out what it missed before. */
  subscribed(): void;
  received(message: Buffer): void;
}

export interface Subscription {
  readonly channel: string;
  /** No message is missed. */
  readonly isActive: boolean;
}

interface OwnSubscription extends Subscription {
  readonly listener: ChannelListener;
  isActive: boolean;
}

export class ChannelSubscriber {
  readonly #connect: () => Redis;
  readonly #byChannel = new Map<string, OwnSubscription>();
  #redis: Redis | undefined;
  #pingTimer: NodeJS.Timeout | undefined;

  constructor(connect: () => Redis) {
    this.#connect = connect;
  }

  /** A channel has one subscription at a time. */
  subscribe(channel: string, listener: ChannelListener): Subscription {
    const subscription = { channel, listener, isActive: false };
    this.#byChannel.set(channel, subscription);
    this.#redis ??= this.#listen();
    if (this.#redis.status === 'ready') void this.#activate([subscription]);
    return subscription;
  }

  unsubscribe({ channel }: Subscription): void {
    const subscription = this.#byChannel.get(channel);
    if (!subscription) return;
    this.#byChannel.delete(channel);
    subscription.isActive = false;
    // A broken connection has no subscriptions; the next one subscribes to the channels that remain.
    if (this.#redis?.status === 'ready') this.#redis.unsubscribe(channel).catch(() => undefined);
  }

  close(): void {
    clearInterval(this.#pingTimer);
    this.#byChannel.clear();
    this.#redis?.disconnect();
  }

  #listen(): Redis {
    const redis = this.#connect();
    redis.on('ready', () => void this.#activate([...this.#byChannel.values()]));
    redis.on('close', () => {
      for (const subscription of this.#byChannel.values()) subscription.isActive = false;
    });
    redis.on('messageBuffer', (channel: Buffer, message: Buffer) =>
      this.#byChannel.get(channel.toString())?.listener.received(message),
    );
    this.#pingTimer = setInterval(() => {
      if (redis.status === 'ready') redis.ping().catch(() => redis.disconnect(true));
    }, PING_INTERVAL_MS).unref();
    return redis;
  }

  async #activate(subscriptions: readonly OwnSubscription[]): Promise<void> {
    if (subscriptions.length === 0) return;
    try {
      await this.#redis!.subscribe(...subscriptions.map(({ channel }) => channel));
    } catch {
      // A new connection subscribes again. If this one is already closed, ioredis reconnects by itself.
      if (this.#redis!.status === 'ready') this.#redis!.disconnect(true);
      return;
    }
    for (const subscription of subscriptions) {
      // Otherwise its channel was unsubscribed meanwhile.
      if (this.#byChannel.get(subscription.channel) !== subscription) continue;
      subscription.isActive = true;
      subscription.listener.subscribed();
    }
  }
}
