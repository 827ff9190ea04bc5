/**
 * Reads once for many concurrent callers. At most one read per key is in flight, however many callers there are.
 */

interface Flight<Value> {
  current: Promise<Value>;
  next: Promise<Value> | undefined;
}

export class SingleFlight<Value> {
  readonly #read: (key: string) => Promise<Value>;
  readonly #flights = new Map<string, Flight<Value>>();

  constructor(read: (key: string) => Promise<Value>) {
    this.#read = read;
  }

  /**
   * A value read after this call began: while a read is in flight, all callers share the next one. Rejects as the read
   * does; a failure does not affect later reads.
   */
  fresh(key: string): Promise<Value> {
    const flight = this.#flights.get(key);
    if (!flight) return this.#start(key);
    const startNext = () => this.#start(key);
    flight.next ??= flight.current.then(startNext, startNext);
    return flight.next;
  }

  /** The read that is in flight, which may have begun before this call; without one, a new read. */
  join(key: string): Promise<Value> {
    return this.#flights.get(key)?.current ?? this.#start(key);
  }

  #start(key: string): Promise<Value> {
    const flight: Flight<Value> = {
      current: this.#read(key).finally(() => {
        if (this.#flights.get(key) === flight && !flight.next) this.#flights.delete(key);
      }),
      next: undefined,
    };
    this.#flights.set(key, flight);
    return flight.current;
  }
}
