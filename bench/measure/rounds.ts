/** Contestants take turns, so that other work on the machine disturbs all of them; and the statistics of the rounds. */

/** Metric → value, of one contestant in one round. */
export type Figures = Record<string, number>;
/** Contestant → figures. */
export type Round = Record<string, Figures>;

/** Compared in each round: a ratio if `over` is set, otherwise the figure itself. */
export interface Comparison {
  what: string;
  metric: string;
  of: string;
  over?: string;
  /** The target; neither: for information. */
  atLeast?: number;
  atMost?: number;
  /** If `over` is not set. */
  unit?: string;
}

export interface Spread {
  median: number;
  /** Quartiles. */
  low: number;
  high: number;
}

export interface Compared extends Comparison, Spread {
  values: number[];
  ok?: boolean;
}

/**
 * A warm-up round that does not count, then `rounds` more. Every second round has the opposite order, so that no
 * contestant always follows the same one.
 */
export async function runRounds(
  choices: { rounds: number; stopping: AbortSignal; report: (line: string) => void },
  contestants: readonly string[],
  turn: (contestant: string, round: number) => Promise<Figures>,
): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let number = 0; number <= choices.rounds; number++) {
    const order = number % 2 === 0 ? contestants : contestants.toReversed();
    const round: Round = {};
    for (const contestant of order) {
      choices.stopping.throwIfAborted();
      choices.report(
        `${number === 0 ? 'warming up' : `round ${number} of ${choices.rounds}`}: ${contestant}`,
      );
      round[contestant] = await turn(contestant, number);
    }
    if (number > 0)
      rounds.push(Object.fromEntries(contestants.map((name) => [name, round[name]!])));
  }
  return rounds;
}

/** The median of the rounds' ratios, not the ratio of medians: a slow moment affects both figures of a round. */
export function compare(rounds: readonly Round[], comparison: Comparison): Compared {
  const { metric, of, over, atLeast, atMost } = comparison;
  const figure = (round: Round, contestant: string) => {
    const value = round[contestant]?.[metric];
    if (value === undefined) throw new Error(`${contestant} has no ${metric}`);
    return value;
  };
  const values = rounds.map(
    (round) => figure(round, of) / (over === undefined ? 1 : figure(round, over)),
  );
  const spread = spreadOf(values);
  const hasBar = atLeast !== undefined || atMost !== undefined;
  const ok = spread.median >= (atLeast ?? -Infinity) && spread.median <= (atMost ?? Infinity);
  return { ...comparison, ...spread, values, ...(hasBar ? { ok } : {}) };
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const rank = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(rank)]!, sorted[Math.ceil(rank)]!];
    return below + (above - below) * (rank - Math.floor(rank));
  };
  return { median: at(0.5), low: at(0.25), high: at(0.75) };
}
