/** A crowd and the autoscaler over time: demand and what the ready pods can serve, latency, refusals. */
import { COLOURS, INK, splitLine, svgOf, textStyle } from '../report/svg.ts';
import type { Second } from './watch-crowd.ts';

const SIZE = { width: 860, height: 560 };
const [DEMAND, CAPACITY, SERVED, LATENCY, , REFUSED] = COLOURS;

export function plotOf(title: string, seconds: readonly Second[], perPod: number): string {
  const line = (name: string, color: string, axis: number, of: (each: Second) => number) => ({
    name,
    type: 'line' as const,
    showSymbol: false,
    color,
    xAxisIndex: axis === 0 ? 0 : 1,
    yAxisIndex: axis,
    data: seconds.map((each) => [each.second, of(each)]),
  });
  const axis = { axisLabel: { color: INK }, splitLine };
  return svgOf(
    {
      title: { text: title, top: 0, textStyle },
      legend: { top: 28, textStyle: { color: INK } },
      grid: [
        { left: 80, right: 70, top: 80, height: 210 },
        { left: 80, right: 70, top: 345, height: 150 },
      ],
      xAxis: [0, 1].map((gridIndex) => ({
        type: 'value' as const,
        gridIndex,
        max: 'dataMax',
        ...(gridIndex === 1 && { name: 'seconds', nameLocation: 'middle' as const, nameGap: 30 }),
        ...axis,
      })),
      yAxis: [
        { type: 'value', gridIndex: 0, name: 'buyers per second', ...axis },
        { type: 'log', gridIndex: 1, name: 'ms', ...axis },
        { type: 'value', gridIndex: 1, name: 'per second', ...axis, splitLine: { show: false } },
      ],
      series: [
        line('demand', DEMAND, 0, ({ came }) => came),
        {
          ...line('ready pods’ capacity', CAPACITY, 0, ({ readyPods }) => readyPods * perPod),
          step: 'end' as const,
        },
        line('served', SERVED, 0, ({ reserved }) => reserved),
        line('99th percentile', LATENCY, 1, ({ p99Ms }) => Math.max(1, p99Ms)),
        line('503 and gave up', REFUSED, 2, ({ refused, gaveUp }) => refused + gaveUp),
      ],
    },
    SIZE,
  );
}
