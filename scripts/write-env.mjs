/**
 * Makes the file that `docker compose up` wants: .env.example with secrets drawn at random. A file that is there stays.
 *   node scripts/write-env.mjs [path, .env when missing]
 * Runs on any Node from 18 on and imports no package, because it is advised where packages could not be installed.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const path = process.argv[2] ?? join(ROOT, '.env');

const SECRETS = {
  JWT_SECRET: secret(32),
  ADMIN_TOKENS: `operator:${secret(24)},merchant:${secret(24)}`,
  POSTGRES_PASSWORD: secret(24),
};

let text = readFileSync(join(ROOT, '.env.example'), 'utf8');
for (const [name, value] of Object.entries(SECRETS)) {
  text = text.replace(new RegExp(`^${name}=$`, 'm'), `${name}=${value}`);
}
try {
  writeFileSync(path, text, { flag: 'wx', mode: 0o600 });
  console.log(`${path}: written, with secrets of its own`);
} catch (error) {
  if (error.code !== 'EEXIST') throw error;
  console.log(`${path}: there already, left as it is`);
}

/** Hexadecimal, which needs no quotes in a file and none in a URL. */
function secret(bytes) {
  return randomBytes(bytes).toString('hex');
}
