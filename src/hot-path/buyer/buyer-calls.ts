/** Runs the calls to Redis that concern one buyer, each a round trip of its own, and limits how many are in flight. */
import type { Shards } from '../../redis/shards.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import type { SaleContext } from '../sales/with-sale.ts';

export interface BuyerContext extends SaleContext {
  shards: Shards;
  buyerCalls: BuyerCalls;
}

const IN_FLIGHT_MAX = 2_000;

export class BuyerCalls {
  #inFlight = 0;

  /** Responds with the result of `call`, or with the problem that fits its error. */
  run(exchange: HttpExchange, call: () => Promise<PreparedResponse>): void {
    if (this.#inFlight >= IN_FLIGHT_MAX) {
      exchange.respond(PROBLEM_RESPONSES.overloaded);
      return;
    }
    this.#inFlight++;
    void call()
      .then((response) => exchange.respond(response))
      .catch((error: unknown) => exchange.fail(error))
      .finally(() => this.#inFlight--);
  }
}
