/**
 * Faults: failures that are no ordinary outcome of a request. One class and one catalogue; a fault keeps its cause.
 */

/** Each fault has its default message and the problem that a request ends with when it meets this fault. */
export const FAULTS = {
  not_sent: { message: 'Redis is not reachable; nothing was sent', problem: 'unavailable' },
  not_executed: { message: 'Redis refused to run the command', problem: 'unavailable' },
  out_of_memory: { message: 'Redis is out of memory; nothing was written', problem: 'overloaded' },
  outcome_unknown: {
    message: 'Redis did not reply; the command may have run',
    problem: 'unavailable',
  },
  script_failed: {
    message: 'a script failed on the data of a sale, which may be damaged',
    problem: 'recovering',
  },
  busy: { message: 'too many calls are in flight; nothing was sent', problem: 'overloaded' },
  config_invalid: { message: 'the environment is invalid', problem: 'unavailable' },
  server_unfit: { message: 'a server does not meet the requirements', problem: 'unavailable' },
  port_taken: { message: 'a port is taken', problem: 'unavailable' },
  script_mismatch: { message: 'a script and its definition disagree', problem: 'unavailable' },
  reply_malformed: { message: 'Redis sent a reply of unknown form', problem: 'unavailable' },
  invariant_broken: { message: 'an invariant does not hold', problem: 'unavailable' },
} as const;

export type FaultCode = keyof typeof FAULTS;

export class Fault extends Error {
  readonly code: FaultCode;

  constructor(code: FaultCode, detail?: string, options?: { cause?: unknown }) {
    super(detail ?? FAULTS[code].message, options);
    this.name = 'Fault';
    this.code = code;
  }
}

/** For branches that the types rule out: throws if one is taken after all. */
export function unreachable(value: never): never {
  throw new Fault('invariant_broken', `unreachable value ${String(value)}`);
}
