/** One thing that happened to a request, and the printed timeline of all of them. */

export interface Moment {
  at: Date;
  /** Where it is recorded: the sale's history, the row, a delivery, … */
  kind:
    | 'decision'
    | 'row'
    | 'webhook'
    | 'later decision'
    | 'stream'
    | 'sale operation'
    | 'recovery'
    | 'audit'
    | 'dead letter';
  /** The reservation or the sale. */
  subject: string;
  text: string;
}

export interface Trace {
  requestId: string;
  traceparents: string[];
  moments: Moment[];
  /** What could not be read. */
  notes: string[];
}

export function inOrder(moments: readonly Moment[]): Moment[] {
  return moments.toSorted((a, b) => a.at.getTime() - b.at.getTime());
}

/** The first moment in full, the others by their distance from it. */
export function printableTrace({ requestId, traceparents, moments, notes }: Trace): string {
  const first = moments[0]?.at.getTime() ?? 0;
  const rows = moments.map(({ at, kind, subject, text }) => [
    at.toISOString(),
    `+${((at.getTime() - first) / 1_000).toFixed(3)} s`,
    kind,
    subject,
    text,
  ]);
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(0, ...rows.map((row) => row[column]!.length)),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
  return [
    `request ${requestId}`,
    ...traceparents.map((traceparent) => `traceparent ${traceparent}`),
    ...lines,
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}
