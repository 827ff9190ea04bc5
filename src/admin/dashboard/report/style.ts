/** The style sheet of the report: light and dark by the reader's setting, and on paper. */
export const STYLE = `
:root { color-scheme: light dark; --text: #1b1f24; --dim: #57606a; --line: #d0d7de; --page: #fff; --ok: #1a7f37;
  --failed: #cf222e; --decided: #0969da; --durable: #9a6700; --confirmed: #1a7f37; --held: #d4a72c; --remaining: #afb8c1; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --line: #3d444d; --page: #0d1117; --ok: #3fb950;
  --failed: #f85149; --decided: #4493f8; --durable: #d29922; --confirmed: #3fb950; --held: #d29922; --remaining: #656c76; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { margin-bottom: 0; overflow-wrap: anywhere; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.verdict { font-weight: 600; padding: .5rem .75rem; border: 1px solid; border-radius: 6px; }
.ok { color: var(--ok); } .failed { color: var(--failed); font-weight: 600; } .none { color: var(--dim); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: .5rem; } dt { color: var(--dim); } dd { margin: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--dim); font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figure > svg { width: 100%; height: auto; } figcaption { color: var(--dim); }
.grid { stroke: var(--line); } .tick { fill: var(--dim); font-size: 11px; } .line { fill: none; stroke-width: 2; }
.key, .ok, .failed { white-space: nowrap; } .swatch { width: .8em; height: .8em; }
.line.decided { stroke: var(--decided); } .line.durable { stroke: var(--durable); } .area.decided { fill: var(--decided); }
.area.durable { fill: var(--durable); } .area.confirmed { fill: var(--confirmed); } .area.held { fill: var(--held); }
.area.remaining { fill: var(--remaining); }
@media print { body { margin: 0; max-width: none; } section { break-inside: avoid; } }
`;
