/**
 * Which folder may import which. `npm run check` fails on an import against this order and on any cycle.
 */

const SHARED = [
  'src/config.ts',
  'src/domain',
  'src/lua',
  'src/redis',
  'src/postgres',
  'src/process',
];

const hotPath = (...folders) => folders.map((folder) => `src/hot-path/${folder}`);
const BELOW_BUY = hotPath('http', 'metrics', 'admission', 'sales');

/** A folder may import itself and the folders listed for it, and nothing else of this repository. */
const MAY_IMPORT = {
  'src/domain': [],
  'src/config.ts': ['src/domain'],
  'src/api': ['src/domain'],
  'src/lua': ['src/domain'],
  'src/postgres': ['src/domain'],
  'src/process': ['src/domain'],
  'src/redis': ['src/config.ts', 'src/domain', 'src/lua', 'src/process'],
  'src/counters': ['src/domain', 'src/redis', 'src/process'],
  'src/verify': ['src/domain', 'src/lua', 'src/redis', 'src/postgres'],
  'src/archive': ['src/domain', 'src/lua', 'src/redis', 'src/postgres', 'src/verify'],
  'src/pairing': ['src/domain', 'src/lua', 'src/redis', 'src/postgres', 'src/process'],
  // The three processes never import each other: they meet in Redis and PostgreSQL.
  'src/hot-path': [
    'src/config.ts',
    'src/domain',
    'src/api',
    'src/lua',
    'src/redis',
    'src/process',
    'src/counters',
  ],
  // Its folders in order; buy, buyer and live do not import each other.
  'src/hot-path/http': ['src/domain', 'src/api'],
  'src/hot-path/metrics': ['src/domain', 'src/counters'],
  'src/hot-path/admission': [
    'src/config.ts',
    'src/domain',
    'src/api',
    'src/process',
    'src/hot-path/http',
  ],
  'src/hot-path/sales': [...SHARED, 'src/api', ...hotPath('http', 'metrics', 'admission')],
  'src/hot-path/buy': [...SHARED, 'src/api', ...BELOW_BUY],
  'src/hot-path/buyer': [...SHARED, 'src/api', ...BELOW_BUY],
  'src/hot-path/live': [...SHARED, 'src/api', ...BELOW_BUY],
  'src/persister': [...SHARED, 'src/archive', 'src/pairing', 'src/counters'],
  'src/admin': [...SHARED, 'src/api', 'src/verify', 'src/archive', 'src/pairing', 'src/counters'],
  // The browser gets nothing else of the project.
  'src/admin/dashboard/page': [],
  // The private stack starts processes of the engine; it does not import them.
  'src/dev': ['src/config.ts', 'src/domain', 'src/process'],
  // A client of both APIs: it knows the engine only over HTTP.
  'src/rehearse': ['src/config.ts', 'src/domain'],
  'src/cli': [...SHARED, 'src/verify', 'src/pairing', 'src/rehearse'],
  'src/main.ts': ['src'],
  harness: ['src'],
  bench: ['src', 'harness'],
  chaos: ['src', 'harness'],
  scripts: ['src', 'harness'],
  test: ['src', 'harness', 'bench', 'chaos', 'scripts', 'examples', 'clients'],
  // Clients and examples are outsiders: they know the engine by HTTP only.
  clients: [],
  examples: ['clients'],
};

const OURS = '^(src|harness|bench|chaos|scripts|test|examples|clients)/';

function pattern(folder) {
  return folder.endsWith('.ts') ? `^${folder.replace('.', '\\.')}$` : `^${folder}/`;
}

export default {
  forbidden: [
    ...Object.entries(MAY_IMPORT).map(([folder, others]) => ({
      name: `${folder} imports only ${others.join(', ') || 'itself'}`,
      severity: 'error',
      from: { path: pattern(folder) },
      to: { path: OURS, pathNot: [folder, ...others].map(pattern) },
    })),
    {
      name: 'rooms of admin import only admin/http and the context, and the dashboard what it shows',
      severity: 'error',
      from: { path: '^src/admin/([^/]+)/', pathNot: '^src/admin/dashboard/' },
      to: { path: '^src/admin/', pathNot: '^src/admin/($1/|http/|context\\.ts$)' },
    },
    {
      name: 'every folder has a place in the order',
      severity: 'error',
      from: { path: OURS, pathNot: Object.keys(MAY_IMPORT).map(pattern) },
      to: {},
    },
    {
      name: 'only the hot path loads uWebSockets.js',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/hot-path/' },
      to: { path: 'uWebSockets\\.js' },
    },
    {
      name: 'production code uses no development package',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/dev/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'processes do not import node:http, which loads fetch too (src/process/node-http.ts)',
      severity: 'error',
      // A rehearsal is no process of the engine.
      from: { path: '^(src|harness)/', pathNot: '^src/rehearse/' },
      to: { path: '^(node:)?http$', dependencyTypesNot: ['type-only'] },
    },
    { name: 'no cycle of files', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no cycle of folders',
      severity: 'error',
      scope: 'folder',
      from: { path: '^src' },
      to: { circular: true },
    },
    {
      name: 'every import resolves',
      severity: 'error',
      from: {},
      // k6 has its modules built in.
      to: { couldNotResolve: true, pathNot: '^k6(/|$)' },
    },
  ],
  options: {
    // TypeScript 7 has no API for tools yet; swc parses it, imports of types included.
    parser: 'swc',
    moduleSystems: ['es6'],
    doNotFollow: { path: 'node_modules' },
    // Built files.
    exclude: { path: '^clients/typescript/dist/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
