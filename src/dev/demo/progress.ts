/**
 * Shows the progress of a count: a bar in a terminal, otherwise one line for every tenth, and at least one every few
 * seconds.
 */
import { Presets, SingleBar } from 'cli-progress';

const LINE_INTERVAL_MS_MAX = 5_000;

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
  let printedAtMs = performance.now();
  return {
    reach: (value) => {
      const reached = Math.floor((value * 10) / total);
      const nowMs = performance.now();
      if (reached <= tenths && nowMs - printedAtMs < LINE_INTERVAL_MS_MAX) return;
      tenths = Math.max(tenths, reached);
      printedAtMs = nowMs;
      console.error(`${label} ${Math.floor((value * 100) / total)} % (${value}/${total})`);
    },
    end: () => {},
  };
}
