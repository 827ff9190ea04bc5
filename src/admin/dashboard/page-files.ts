/**
 * The files that the dashboard's page is made of: page/, and the modules of the packages that it imports. All are read
 * once at start, so a path names one of them or nothing, and a process serves the version that it was started with.
 */
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { Fault } from '../../domain/fault.ts';

const PAGE = join(import.meta.dirname, 'page');
/** Not the settings of the type checker. */
const PAGE_FILES = '**/*.{css,html,js,svg}';

const CONTENT_TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** By their path below `/assets/vendor/`. The import map in page/index.html gives them their names. */
const VENDOR: Record<string, () => string> = {
  'preact.js': () => readPackage('preact'),
  'preact-hooks.js': () => readPackage('preact/hooks'),
  'signals-core.js': () => readPackage('@preact/signals-core'),
  'signals.js': () => readPackage('@preact/signals'),
  'htm.js': () => readPackage('htm'),
  // Only the script for old browsers is minified: less than half as long as the module.
  'uplot.js': () => `${readPackage('uplot/dist/uPlot.iife.min.js')}\nexport default uPlot;\n`,
  'uplot.css': () => readPackage('uplot/dist/uPlot.min.css'),
};

const STATIC_IMPORT = /(?:^|[;\n])(?:import|export)\b[^;'"()]*?\bfrom\s*['"]([^'"]+)['"]/g;

/** Quality 11 would save 3 % and take ten times as long. */
const BROTLI = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };
const COMPRESSIONS: Record<string, (bytes: Buffer) => Promise<Buffer>> = {
  br: (bytes) => promisify(brotliCompress)(bytes, BROTLI),
  gzip: promisify(gzip),
};

export class PageFile {
  readonly contentType: string;
  /** Of the content, whatever its encoding; therefore weak. */
  readonly etag: string;
  readonly #bytes: Buffer;
  readonly #compressed = new Map<string, Promise<Buffer>>();

  constructor(path: string, text: Buffer) {
    const contentType = CONTENT_TYPES[extname(path)];
    if (!contentType) throw new Fault('invariant_broken', `no content type is known for ${path}`);
    this.contentType = contentType;
    this.etag = `W/"${createHash('sha256').update(text).digest('base64url')}"`;
    this.#bytes = text;
  }

  get text(): string {
    return this.#bytes.toString();
  }

  /** In the best encoding that the client accepts; undefined: as it is. Compressed once, on the first request. */
  async encodedFor(acceptEncoding: string): Promise<{ encoding?: string; bytes: Buffer }> {
    const encoding = Object.keys(COMPRESSIONS).find((name) => accepts(acceptEncoding, name));
    if (encoding === undefined) return { bytes: this.#bytes };
    const compressed = this.#compressed.get(encoding) ?? COMPRESSIONS[encoding]!(this.#bytes);
    this.#compressed.set(encoding, compressed);
    return { encoding, bytes: await compressed };
  }
}

export interface PageFiles {
  index: PageFile;
  /** By their path below `/assets/`. */
  assets: ReadonlyMap<string, PageFile>;
}

export function readPageFiles(): PageFiles {
  const assets = new Map<string, PageFile>();
  const add = (path: string, text: Buffer) => assets.set(path, new PageFile(path, text));
  for (const path of globSync(PAGE_FILES, { cwd: PAGE })) add(path, readFileSync(join(PAGE, path)));
  for (const [name, read] of Object.entries(VENDOR)) add(`vendor/${name}`, Buffer.from(read()));
  const { text } = assets.get('index.html')!;
  assets.delete('index.html');
  const preloads = importedBy('main.js', text, assets)
    .map((path) => `<link rel="modulepreload" href="/assets/${path}">\n`)
    .join('');
  const index = text.replace('<script type="module"', (script) => preloads + script);
  return { index: new PageFile('index.html', Buffer.from(index)), assets };
}

/** The modules that a module imports, and those that they import. Without their names, a browser finds one level at a time. */
function importedBy(main: string, index: string, assets: PageFiles['assets']): string[] {
  const [, importMap = ''] = /<script type="importmap">([\s\S]*?)<\/script>/.exec(index) ?? [];
  const { imports } = JSON.parse(importMap) as { imports: Record<string, string> };
  const found = new Set([main]);
  for (const path of found) {
    const text = assets.get(path)?.text ?? '';
    for (const [, name = ''] of text.matchAll(STATIC_IMPORT)) {
      const url = imports[name] ?? new URL(name, `http://page/assets/${path}`).pathname;
      found.add(url.slice('/assets/'.length));
    }
  }
  found.delete(main);
  return [...found];
}

/** The sources of the inline scripts of a page for a Content-Security-Policy. The page has one: its import map. */
export function inlineScriptSources(html: string): string[] {
  return [...html.matchAll(/<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(
    ([, script]) => `'sha256-${createHash('sha256').update(script!).digest('base64')}'`,
  );
}

/** The file that an import of this name leads to. Its source map is not served. */
function readPackage(name: string): string {
  const text = readFileSync(fileURLToPath(import.meta.resolve(name)), 'utf8');
  return text.replace(/\/\/# sourceMappingURL=\S+\s*$/, '\n');
}

function accepts(acceptEncoding: string, name: string): boolean {
  return acceptEncoding.split(',').some((part) => {
    const [coding, quality = ''] = part.split(';').map((text) => text.trim().toLowerCase());
    return coding === name && !/^q=0(\.0*)?$/.test(quality);
  });
}
