/**
 * How far a count has come: a bar where somebody watches a terminal, else a line for every tenth of the way.
 */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  reach: (value: number) => void;
  end: () => void;
}

export function showProgress(label: string, total: number): Progress {
  return process.stderr.isTTY ? showBar(label, total) : showLines(label, total);
}

function showBar(label: string, total: number): Progress {
  const bar = new SingleBar(
    { format: `${label} {bar} {value}/{total}`, stream: process.stderr, hideCursor: true },
    Presets.shades_classic,
  );
  bar.start(total, 0);
  return { reach: (value) => bar.update(value), end: () => bar.stop() };
}

function showLines(label: string, total: number): Progress {
  let tenths = 0;
  return {
    reach: (value) => {
      const reached = Math.floor((value * 10) / total);
      if (reached <= tenths) return;
      tenths = reached;
      console.error(`${label} ${reached * 10} % (${value}/${total})`);
    },
    end: () => {},
  };
}
