/** The kinds of violations. Each kind is a broken promise. */

export const VIOLATION_KINDS = {
  oversold: 'more units were held than loaded',
  'counts-differ': 'the counts of a SKU do not add up, or differ from its reservations',
  'lost-reservation': 'a reservation that a client saw does not exist',
  'lost-transition': 'a transition that a client saw did not happen',
  'lost-row': 'PostgreSQL lacks a decision of Redis',
  'stale-row': 'PostgreSQL and Redis have different states of a reservation',
  'never-decided': 'PostgreSQL has a reservation that Redis did not decide',
  unrequested: 'a decision has no request',
  'history-gap': 'the history of a reservation or of the sale is incomplete',
  'illegal-transition': 'a reservation made a transition that does not exist',
  'expired-early': 'a hold expired before its time',
  'dead-letter': 'PostgreSQL rejected an event',
  'decided-twice': 'one request led to two reservations',
  'responses-differ': 'the same request got different reservations',
  'response-contradicts-row': 'a response differs from the decision',
  'response-untrue': 'a response shows a state that the reservation did not have at that time',
  'over-limit': 'a buyer had more units than the limit',
  'cool-down-ignored': 'a buyer got a reservation or a rank in a cool-down',
  'position-reused': 'two reservations have one position',
  'position-gap': 'a position has no reservation',
  'out-of-order': 'a later purchase has an earlier position, or overtook a waiting buyer',
  'time-went-back': 'a decision has an earlier time than the one before it',
  'refused-but-decided': 'a refused request led to a reservation',
  'false-refusal': 'the reason of a refusal cannot have been true',
  reopened: 'a sale sold again after a buyer got sale_ended',
  'operation-differs': 'a change by an operator differs from its response',
  'payment-differs': 'a reservation has another payment than a merchant was told',
  'unexpected-response': 'the request cannot get this response',
  'no-response': 'a request got no settled response, even after all faults were over',
  'did-not-recover': 'the sale did not come to rest after all faults were over',
  'process-died': 'a process died that no fault had killed',
  'consumed-by-a-copy': 'a persister on a copy of the database took over decisions',
  'verify-failed': "the engine's own check failed",
} as const;
export type ViolationKind = keyof typeof VIOLATION_KINDS;

export interface Violation {
  kind: ViolationKind;
  evidence: string;
}
