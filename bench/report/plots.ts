/** Results as SVG for the documents. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EChartsOption } from 'echarts';
import { ENGINE } from '../measure/contestants.ts';
import type { ScenarioResult } from './results.ts';
import { ACCENT, axisLine, COLOURS, INK, splitLine, svgOf, textStyle } from './svg.ts';

/** Bars that differ by a greater ratio get a logarithmic axis. */
const LINEAR_RATIO_MAX = 30;
/** A line that grows by a greater ratio gets a logarithmic axis. */
const LINEAR_SPAN_MAX = 10;
const GROWTH_LINES = [
  { metric: 'perSecond', label: 'per second', color: ACCENT, axis: 0 },
  { metric: 'refusalsPerSecond', label: 'refusals per second', color: '#c9a227', axis: 0 },
  { metric: 'serverMicros', label: 'hot path CPU per request, µs', color: '#5b8def', axis: 1 },
  { metric: 'redisMicros', label: 'Redis CPU per request, µs', color: '#7fb069', axis: 1 },
] as const;

/** Writes every plot that these results allow. Returns their paths. */
export async function writePlots(
  results: readonly ScenarioResult[],
  directory: string,
): Promise<string[]> {
  const plots = results.flatMap((result) => [
    ...(result.growth ? growthOf(result) : barsOf(result)),
    ...curvesOf(result),
    ...timelineOf(result),
  ]);
  return Promise.all(
    plots.map(async ({ name, option }) => {
      const path = join(directory, `${name}.svg`);
      await writeFile(path, `${svgOf(option)}\n`);
      return path;
    }),
  );
}

interface Plot {
  name: string;
  option: EChartsOption;
}

/** Throughput, with quartiles as whiskers. */
function barsOf({ name, title, figures }: ScenarioResult): Plot[] {
  const bars = Object.entries(figures).flatMap(([contestant, { perSecond }]) =>
    perSecond ? [{ contestant, ...perSecond }] : [],
  );
  if (bars.length < 2) return [];
  bars.sort((a, b) => a.median - b.median);
  const isLog = bars.at(-1)!.median / bars[0]!.median > LINEAR_RATIO_MAX;
  return [
    {
      name: `${name}-throughput`,
      option: {
        title: { text: `${title}: per second`, top: 0, textStyle },
        grid: { left: 190, right: 90, top: 50, bottom: 40 },
        xAxis: { type: isLog ? 'log' : 'value', axisLabel: { color: INK }, splitLine },
        yAxis: {
          type: 'category',
          data: bars.map(({ contestant }) => contestant),
          axisLabel: { color: INK, fontSize: 13 },
          axisLine,
        },
        series: [
          {
            type: 'bar',
            barWidth: '55%',
            data: bars.map(({ contestant, median }) => ({
              value: Math.round(median),
              itemStyle: { color: contestant === ENGINE ? ACCENT : INK },
            })),
            label: {
              show: true,
              position: 'right',
              color: INK,
              formatter: ({ value }) => Number(value).toLocaleString('en-GB'),
            },
            // Quartiles of the rounds.
            markLine: {
              symbol: ['rect', 'rect'],
              symbolSize: [1, 8],
              silent: true,
              label: { show: false },
              lineStyle: { color: INK, type: 'solid', width: 1 },
              data: bars.map(({ low, high }, index) => [
                { coord: [low, index] },
                { coord: [high, index] },
              ]),
            },
          },
        ],
      },
    },
  ];
}

/** Throughput and CPU time per request, along the line that grows. */
function growthOf({ name, title, figures, growth }: ScenarioResult): Plot[] {
  if (!growth) return [];
  const points = Object.entries(growth.at);
  const all = points.map(([, at]) => at);
  const isLog = Math.max(...all) / Math.min(...all) > LINEAR_SPAN_MAX;
  const lines = GROWTH_LINES.filter(({ metric }) =>
    points.every(([point]) => figures[point]?.[metric]),
  );
  return [
    {
      name: `growth-${name}`,
      option: {
        title: { text: title, top: 0, textStyle },
        legend: { top: 28, textStyle: { color: INK } },
        grid: { left: 80, right: 60, top: 80, bottom: 50 },
        xAxis: {
          type: isLog ? 'log' : 'value',
          name: growth.by,
          nameLocation: 'middle',
          nameGap: 30,
          min: 'dataMin',
          max: 'dataMax',
          ...(isLog ? {} : { minInterval: 1 }),
          axisLabel: { color: INK },
          splitLine,
        },
        yAxis: [
          { type: 'value', name: 'per second', min: 0, axisLabel: { color: INK }, splitLine },
          {
            type: 'value',
            name: 'µs',
            min: 0,
            axisLabel: { color: INK },
            splitLine: { show: false },
          },
        ],
        series: lines.map(({ metric, label, color, axis }) => ({
          name: label,
          type: 'line',
          symbolSize: 6,
          color,
          yAxisIndex: axis,
          data: points.map(([point, at]) => [at, figures[point]![metric]!.median]),
        })),
      },
    },
  ];
}

/** Latency by percentile. The axis counts nines, so that the slowest thousandth is visible. */
function curvesOf({ name, title, curves }: ScenarioResult): Plot[] {
  if (!curves) return [];
  const names = Object.keys(curves);
  return [
    {
      name: `${name}-latency`,
      option: {
        title: { text: `${title}: latency`, top: 0, textStyle },
        legend: { top: 28, textStyle: { color: INK } },
        grid: { left: 70, right: 30, top: 66, bottom: 50 },
        xAxis: {
          type: 'value',
          min: 0,
          max: 4,
          name: 'percentile',
          nameLocation: 'middle',
          nameGap: 30,
          axisLabel: { color: INK, formatter: (nines: number) => percentileOf(nines) },
          splitLine,
        },
        yAxis: { type: 'log', name: 'ms', axisLabel: { color: INK }, splitLine },
        series: names.map((contestant, index) => ({
          name: contestant,
          type: 'line',
          showSymbol: false,
          color: COLOURS[index % COLOURS.length]!,
          data: curves[contestant]!.filter(([percent, ms]) => percent < 100 && ms > 0).map(
            ([percent, ms]) => [-Math.log10(1 - percent / 100), ms],
          ),
        })),
      },
    },
  ];
}

/** A sale from its opening: decisions per second, remaining units, durable rows. */
function timelineOf({ name, title, timeline }: ScenarioResult): Plot[] {
  if (!timeline) return [];
  const perSecond = timeline.slice(1).map((each, index) => {
    const before = timeline[index]!;
    return [each.ms, Math.round(((each.decided - before.decided) / (each.ms - before.ms)) * 1e3)];
  });
  const line = (label: string, color: string, yAxisIndex: number, data: number[][]) => ({
    name: label,
    type: 'line' as const,
    showSymbol: false,
    color,
    yAxisIndex,
    data,
  });
  return [
    {
      name,
      option: {
        title: { text: title, top: 0, textStyle },
        legend: { top: 28, textStyle: { color: INK } },
        grid: { left: 70, right: 70, top: 66, bottom: 50 },
        xAxis: {
          type: 'value',
          name: 'ms',
          nameLocation: 'middle',
          nameGap: 30,
          axisLabel: { color: INK },
          splitLine,
        },
        yAxis: [
          { type: 'value', name: 'units', axisLabel: { color: INK }, splitLine },
          {
            type: 'value',
            name: 'per second',
            axisLabel: { color: INK },
            splitLine: { show: false },
          },
        ],
        series: [
          line('decisions per second', '#8a8a8a', 1, perSecond),
          line(
            'remaining',
            ACCENT,
            0,
            timeline.map(({ ms, remaining }) => [ms, remaining]),
          ),
          line(
            'durable rows',
            '#5b8def',
            0,
            timeline.map(({ ms, durable }) => [ms, durable]),
          ),
        ],
      },
    },
  ];
}

function percentileOf(nines: number): string {
  return `${Number((100 * (1 - 10 ** -nines)).toFixed(3))} %`;
}
