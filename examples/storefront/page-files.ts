/**
 * The files of the page by their path: its own and the client's. TypeScript is served without its types; browsers run
 * it as it is. A shop with a build serves `npm run build:client` instead.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface PageFile {
  contentType: string;
  content: string;
}

const ROOT = new URL('../../', import.meta.url);
/** The same paths as in the repository, so that relative imports lead to the same files. */
const FOLDERS = ['examples/storefront/page/', 'clients/typescript/src/'];
const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.ts': 'text/javascript; charset=utf-8',
};

/** Only these files can be requested. */
export function readPageFiles(): Map<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const folder of FOLDERS) {
    for (const name of readdirSync(fileURLToPath(new URL(folder, ROOT)))) {
      const contentType = CONTENT_TYPES[extname(name)];
      if (contentType === undefined) continue;
      const source = readFileSync(new URL(folder + name, ROOT), 'utf8');
      const content = name.endsWith('.ts') ? stripTypeScriptTypes(source) : source;
      files.set(`/${folder}${name}`, { contentType, content });
    }
  }
  files.set('/', files.get('/examples/storefront/page/index.html')!);
  return files;
}
