/**
 * What goes wrong that is nobody's ordinary outcome. One class, one catalogue; the cause is kept.
 */

export const FAULTS = {
  not_sent: 'Redis is not reachable; nothing was sent',
  not_executed: 'Redis refused to run the command',
  outcome_unknown: 'Redis did not answer; the command may have run',
  busy: 'too much of this is under way; nothing was sent',
  config_invalid: 'the environment is not usable',
  server_unfit: 'a server is not set up as this engine needs it',
  port_taken: 'a port is taken',
  script_mismatch: 'a Lua script and its TypeScript definition disagree',
  reply_malformed: 'Redis answered something that this version does not understand',
  invariant_broken: 'an invariant does not hold',
} as const;

export type FaultCode = keyof typeof FAULTS;

export class Fault extends Error {
  readonly code: FaultCode;

  constructor(code: FaultCode, detail?: string, options?: { cause?: unknown }) {
    super(detail ?? FAULTS[code], options);
    this.name = 'Fault';
    this.code = code;
  }
}

/** For the branches that the types rule out: says so loudly should one be taken after all. */
export function unreachable(value: never): never {
  throw new Fault('invariant_broken', `unreachable value ${String(value)}`);
}
