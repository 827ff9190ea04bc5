/** The client of the buyers' API of a flash sale, for browsers and Node. */
export { FlashSale, type FlashSaleOptions, newKey } from './client.ts';
export { countdown } from './countdown.ts';
export type { LiveOptions, LiveSale, LiveState } from './live-sale.ts';
export type {
  Basket,
  BuyResult,
  Done,
  ForeignProblem,
  Mine,
  OperationId,
  Problem,
  ProblemCode,
  ProblemOf,
  Refused,
  Reservation,
  Result,
  Sale,
  Unknown,
  ValueOf,
  WaitlistPlace,
} from './operations.ts';
export type { Wait } from './own-state.ts';
export type { CallOptions, Retry, RetryLimits } from './request.ts';
export { ServerClock } from './server-clock.ts';
