/** What can be wrong with a run. Each kind is a promise that was broken. */

export const VIOLATION_KINDS = {
  oversold: 'more units were held than there were',
  'counts-differ': 'the counts of a SKU do not add up, or are not those of its reservations',
  'lost-reservation': 'a reservation that somebody was told of is not there',
  'lost-transition': 'a move that somebody was told of did not happen',
  'lost-row': 'PostgreSQL lacks what Redis decided',
  'stale-row': 'PostgreSQL has another state of a reservation than Redis',
  'never-decided': 'PostgreSQL has what Redis did not decide',
  unrequested: 'something happened that nobody had asked for',
  'history-gap': 'the history of a reservation, or of the sale, is not complete',
  'illegal-transition': 'a reservation moved where no move leads',
  'expired-early': 'a hold ended before its time',
  'dead-letter': 'PostgreSQL refused an event',
  'decided-twice': 'one request brought about two reservations',
  'responses-differ': 'the same request got different reservations',
  'response-contradicts-row': 'an answer shows something else than what was decided',
  'response-untrue': 'an answer shows a state that the reservation did not have at that time',
  'over-limit': 'a buyer had more than one buyer may have',
  'position-reused': 'two reservations were given one position',
  'position-gap': 'a position belongs to nobody',
  'out-of-order': 'who came later stands before who came earlier',
  'refused-but-decided': 'a request was refused and yet brought about a reservation',
  'false-refusal': 'a refusal gave a reason that can not have been true',
  'operation-differs': 'a change of stock is not as its answer said',
  'unexpected-response': 'an answer that this request can not get',
  'no-response': 'a request got no real response, also after all faults were over',
  'did-not-recover': 'the sale did not come to rest after all faults were over',
  'process-died': 'a process died that nobody had killed',
  'verify-failed': "the engine's own check found a broken promise",
} as const;
export type ViolationKind = keyof typeof VIOLATION_KINDS;

export interface Violation {
  kind: ViolationKind;
  evidence: string;
}
