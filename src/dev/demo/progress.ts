/**
 * How far a count has come: a bar where somebody watches a terminal, else a line for every tenth of the way, and one
 * where that takes long.
 */
import { Presets, SingleBar } from 'cli-progress';

/** Whoever reads a log wonders after so long. */
const SILENT_MS_MAX = 5_000;

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
  let toldAtMs = performance.now();
  return {
    reach: (value) => {
      const reached = Math.floor((value * 10) / total);
      const nowMs = performance.now();
      if (reached <= tenths && nowMs - toldAtMs < SILENT_MS_MAX) return;
      tenths = Math.max(tenths, reached);
      toldAtMs = nowMs;
      console.error(`${label} ${Math.floor((value * 100) / total)} % (${value}/${total})`);
    },
    end: () => {},
  };
}
