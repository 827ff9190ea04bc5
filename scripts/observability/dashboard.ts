/** The Grafana dashboard as code: `npm run docs:dashboard` writes this JSON. dashboard-panels.ts says what it shows. */
import { ACTIVE_ALERTS, type Panel, ROWS } from './dashboard-panels.ts';

const COLUMNS = 24;
const TABLE_HEIGHT = 6;
// Grafana's own placeholder, which the variable below fills.
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is not a template of JavaScript
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

export function dashboardJson(): string {
  let id = 0;
  let y = 0;
  const panels: object[] = [];
  for (const row of ROWS) {
    panels.push({
      id: ++id,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: COLUMNS, h: 1 },
      panels: [],
    });
    let x = 0;
    let height = row.height;
    for (const panel of row.panels) {
      if (x + panel.width > COLUMNS) {
        y += height;
        x = 0;
      }
      height = panel.kind === 'table' ? TABLE_HEIGHT : row.height;
      panels.push({
        id: ++id,
        gridPos: { x, y, w: panel.width, h: height },
        ...grafanaPanel(panel),
      });
      x += panel.width;
    }
    y += height;
  }
  const dashboard = {
    uid: 'flash-sale',
    title: 'Flash sale',
    description: 'Written by npm run docs:dashboard; changes here are lost.',
    tags: ['flash-sale'],
    timezone: 'browser',
    editable: true,
    graphTooltip: 1,
    refresh: '5s',
    schemaVersion: 39,
    time: { from: 'now-30m', to: 'now' },
    timepicker: { refresh_intervals: ['5s', '10s', '30s', '1m', '5m'] },
    templating: {
      list: [
        {
          name: 'datasource',
          label: 'Prometheus',
          type: 'datasource',
          query: 'prometheus',
          refresh: 1,
          hide: 0,
        },
      ],
    },
    annotations: {
      list: [
        {
          name: 'Alerts',
          enable: true,
          datasource: DATASOURCE,
          expr: ACTIVE_ALERTS,
          titleFormat: '{{alertname}}',
          iconColor: 'red',
          step: '10s',
        },
      ],
    },
    panels,
  };
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}

function grafanaPanel(panel: Panel): object {
  const { title, says, kind, unit, redFrom, stacked, queries } = panel;
  const isNow = kind !== 'timeseries';
  const steps = [
    { color: 'green', value: null },
    ...(redFrom === undefined ? [] : [{ color: 'red', value: redFrom }]),
  ];
  return {
    type: kind,
    title,
    description: says,
    datasource: DATASOURCE,
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCodePoint('A'.codePointAt(0)! + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      instant: isNow,
      range: !isNow,
      ...(kind === 'table' ? { format: 'table' } : {}),
    })),
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        thresholds: { mode: 'absolute', steps },
        custom: stacked
          ? { fillOpacity: 40, stacking: { mode: 'normal', group: 'A' } }
          : kind === 'timeseries'
            ? { fillOpacity: 0 }
            : {},
      },
      overrides: [],
    },
    options: optionsOf(kind),
  };
}

function optionsOf(kind: Panel['kind']): object {
  if (kind === 'stat') {
    return {
      colorMode: 'background',
      graphMode: 'none',
      reduceOptions: { calcs: ['lastNotNull'] },
    };
  }
  if (kind === 'table') return { showHeader: true };
  return {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  };
}
