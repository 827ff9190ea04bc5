/** How plots look. The colours are readable on light and on dark backgrounds. */
import { type EChartsOption, init } from 'echarts';

const SIZE = { width: 860, height: 360 };
const FAINT = '#8a8a8a40';
export const INK = '#8a8a8a';
export const ACCENT = '#e8710a';
export const COLOURS = [ACCENT, '#5b8def', '#7fb069', '#b07fb0', INK, '#c9a227'] as const;
export const textStyle = { color: INK, fontSize: 15, fontWeight: 'normal' as const };
export const splitLine = { lineStyle: { color: FAINT } };
export const axisLine = { lineStyle: { color: FAINT } };

export function svgOf(option: EChartsOption, size = SIZE): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...size });
  try {
    chart.setOption({ animation: false, ...option });
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}
