/**
 * The operations of the buyers' API with the types of their values and problems, taken from the generated types of the
 * OpenAPI document.
 */
import type { components, operations } from './openapi.ts';

export type Sale = components['schemas']['SaleView'];
export type Reservation = components['schemas']['Reservation'];
export type Mine = components['schemas']['BuyerInSale'];
export type WaitlistPlace = components['schemas']['WaitlistPlace'];
export type LiveMessage = components['schemas']['LiveMessage'];

export type OperationId = Exclude<keyof operations, 'watchSale'>;

type Responses<Id extends OperationId> = operations[Id]['responses'];
type ContentOf<Response, Type extends string> = Response extends {
  content: Record<Type, infer Content>;
}
  ? Content
  : never;

/** What the operation returns if it succeeds. */
export type ValueOf<Id extends OperationId> = ContentOf<
  Responses<Id>[keyof Responses<Id>],
  'application/json'
>;

type DocumentedProblem<Id extends OperationId> = ContentOf<
  Responses<Id>[keyof Responses<Id>],
  'application/problem+json'
>;

/**
 * A refusal that does not come from the engine, such as an error page of a proxy. Its texts come from the status alone.
 */
export interface ForeignProblem {
  type: 'about:blank';
  title: string;
  status: number;
  code: 'unrecognized';
  detail: string;
}

/** An RFC 9457 problem. `code` says which one; the other fields depend on it. */
export type ProblemOf<Id extends OperationId> = DocumentedProblem<Id> | ForeignProblem;
export type Problem = { [Id in OperationId]: ProblemOf<Id> }[OperationId];
export type ProblemCode = Problem['code'];

export interface Done<Value> {
  outcome: 'done';
  value: Value;
  /** An earlier request had this effect already, for example one whose response was lost. */
  isReplayed: boolean;
}

/** The engine refused the request, which has had no effect. */
export interface Refused<AnyProblem> {
  outcome: 'refused';
  problem: AnyProblem;
  /** How long the engine asks to wait before another request; 0: it does not say. */
  retryAfterMs: number;
}

/** No attempt got a definite response in time. The request may have had its effect; repeating it is safe. */
export interface Unknown {
  outcome: 'unknown';
  /** The last problem; undefined: there was no response at all. */
  problem: Problem | undefined;
  retryAfterMs: number;
  /** The error of the last attempt without a response. */
  cause: unknown;
}

export type Result<Id extends OperationId> = Done<ValueOf<Id>> | Refused<ProblemOf<Id>> | Unknown;

/** `key` names the purchase: buying again with the same key and basket is the same purchase. */
export type BuyResult = Result<'buy'> & { key: string };

/** Units of one SKU, of several, or of the only SKU of the sale, once. */
export type Basket =
  | { sku?: never; quantity?: never; items?: never }
  | { sku: string; quantity?: number; items?: never }
  | { items: { sku: string; quantity?: number }[]; sku?: never; quantity?: never };
