/** Charts as SVG in the HTML of the report: counts over time, as lines or as areas on top of each other. */
import { type Html, html } from './html.ts';

export interface Series {
  name: string;
  /** A class of the report's style sheet, which gives the colour. */
  style: string;
  /** One for each interval. */
  values: readonly number[];
}

export interface TimeAxis {
  startMs: number;
  /** The length of one interval. */
  stepMs: number;
}

const WIDTH = 760;
const HEIGHT = 240;
const LEFT = 70;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 34;
const LINES = 4;

/** `isStacked`: each series is an area on top of those before it. `label` says what the values are. */
export function chart(
  label: string,
  axis: TimeAxis,
  series: readonly Series[],
  isStacked: boolean,
): Html {
  const count = series[0]?.values.length ?? 0;
  if (count === 0) return html`<p class="none">Nothing to show.</p>`;
  const tops = isStacked ? stack(series) : series.map(({ values }) => values);
  const most = niceCeiling(Math.max(1, ...tops.map((values) => Math.max(...values))));
  const x = (index: number) => LEFT + ((WIDTH - LEFT - RIGHT) * index) / count;
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / most);
  const shapes = series.map(({ style }, index) => {
    const top = stairs(tops[index]!, x, y);
    if (!isStacked) return html`<path class="line ${style}" d="M${top.join(' L')}"/>\n`;
    const below = stairs(tops[index - 1] ?? Array.from({ length: count }, () => 0), x, y);
    return html`<path class="area ${style}" d="M${[...top, ...below.toReversed()].join(' L')} Z"/>\n`;
  });
  const grid = Array.from({ length: LINES + 1 }, (_, index) => {
    const value = (most * index) / LINES;
    return html`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>
<text class="tick" text-anchor="end" x="${LEFT - 6}" y="${y(value) + 4}">${value.toLocaleString('en')}</text>\n`;
  });
  const endMs = axis.startMs + count * axis.stepMs;
  return html`<figure><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">
${grid}${shapes}<text class="tick" x="${LEFT}" y="${HEIGHT - 8}">${clockTime(axis.startMs)}</text>
<text class="tick" text-anchor="end" x="${WIDTH - RIGHT}" y="${HEIGHT - 8}">${clockTime(endMs)}</text>
</svg><figcaption>${label}, every ${durationText(axis.stepMs)}: ${series.map(legend)}</figcaption></figure>`;
}

function legend({ name, style }: Series): Html {
  return html`<span class="key"><svg class="swatch" viewBox="0 0 1 1" aria-hidden="true"><rect class="area ${style}" width="1" height="1"/></svg> ${name}</span> `;
}

function stack(series: readonly Series[]): number[][] {
  const tops: number[][] = [];
  for (const { values } of series) {
    const below = tops.at(-1);
    tops.push(values.map((value, index) => value + (below?.[index] ?? 0)));
  }
  return tops;
}

/** Each value is a level from the start of its interval to the end. */
function stairs(
  values: readonly number[],
  x: (index: number) => number,
  y: (value: number) => number,
): string[] {
  return values.flatMap((value, index) => [
    point(x(index), y(value)),
    point(x(index + 1), y(value)),
  ]);
}

function point(x: number, y: number): string {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}

/** The next of 1, 2, 4 or 8 times a power of ten, which four lines divide well. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 8, 10].map((factor) => factor * power).find((most) => most >= value)!;
}

function clockTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
}

const STEPS_MS = [
  100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000,
  3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000,
];

/** The shortest usual step of which at most `intervalsMax` cover the time. */
export function stepFor(durationMs: number, intervalsMax: number): number {
  const usual = STEPS_MS.find((step) => durationMs / step <= intervalsMax);
  return usual ?? Math.ceil(durationMs / intervalsMax / 86_400_000) * 86_400_000;
}

function durationText(ms: number): string {
  for (const [unit, length] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
  ] as const)
    if (ms >= length && ms % length === 0) return `${ms / length} ${unit}`;
  return `${ms / 1_000} s`;
}
