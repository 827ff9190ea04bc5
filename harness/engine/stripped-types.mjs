/**
 * Loads TypeScript files without their types from the folder NODE_COMPILE_CACHE, and strips a file that is not there
 * yet. Node 22 keeps compiled code in that folder, but strips the types at each load.
 */
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

registerHooks({
  load(url, context, nextLoad) {
    const isOurs = url.startsWith('file:') && url.endsWith('.ts');
    if (!isOurs) return nextLoad(url, context);
    return { format: 'module', source: stripped(fileURLToPath(url)), shortCircuit: true };
  },
});

function stripped(path) {
  const { mtimeMs, size } = statSync(path);
  const name = `${path}-${mtimeMs}-${size}`.replaceAll('/', '%');
  const known = join(process.env.NODE_COMPILE_CACHE, name);
  try {
    return readFileSync(known, 'utf8');
  } catch {
    const source = stripTypeScriptTypes(readFileSync(path, 'utf8'));
    // Renamed when it is complete: another process may read it now.
    const own = `${known}-${process.pid}`;
    writeFileSync(own, source);
    renameSync(own, known);
    return source;
  }
}
