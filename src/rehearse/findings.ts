/** What a rehearsal found: one line for each check, in the order of the checks. */

type Verdict = 'ok' | 'warning' | 'failed';

export interface Finding {
  check: string;
  verdict: Verdict;
  /** What was found, in one line. */
  found: string;
  /** Why it matters, and what to do; undefined if all is well. */
  advice?: string;
}

const MARKS: Record<Verdict, string> = { ok: '✓', warning: '!', failed: '✗' };
const NAME_WIDTH = 26;

export class Findings {
  readonly all: Finding[] = [];
  readonly #report: (line: string) => void;

  /** `report` gets each finding as soon as it is known. */
  constructor(report: (line: string) => void) {
    this.#report = report;
  }

  /** Warnings do not count: the system works, and something could not be seen. */
  get isReady(): boolean {
    return this.all.every(({ verdict }) => verdict !== 'failed');
  }

  ok(check: string, found: string): void {
    this.#add({ check, verdict: 'ok', found });
  }

  warn(check: string, found: string, advice: string): void {
    this.#add({ check, verdict: 'warning', found, advice });
  }

  fail(check: string, found: string, advice: string): void {
    this.#add({ check, verdict: 'failed', found, advice });
  }

  /** `advice` is for the case that the condition does not hold. */
  expect(check: string, holds: boolean, found: string, advice: string): void {
    if (holds) this.ok(check, found);
    else this.fail(check, found, advice);
  }

  #add(finding: Finding): void {
    this.all.push(finding);
    this.#report(printable(finding));
  }
}

function printable({ check, verdict, found, advice }: Finding): string {
  const line = `  ${MARKS[verdict]} ${check.padEnd(NAME_WIDTH)} ${found}`;
  return advice === undefined ? line : `${line}\n    ${' '.repeat(NAME_WIDTH)} → ${advice}`;
}

/** A duration for people: milliseconds below ten seconds. */
export function ms(value: number): string {
  const isLong = Math.abs(value) >= 10_000;
  return isLong ? `${Math.round(value / 1_000)} s` : `${Math.round(value * 10) / 10} ms`;
}

export function perSecond(value: number): string {
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)}/s`;
}
