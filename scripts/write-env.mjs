/**
 * Writes the file that `docker compose up` needs: .env.example with random secrets. Keeps an existing file.
 *   node scripts/write-env.mjs [path, by default .env]
 * Runs on Node 18 or newer without packages: set-up suggests it where packages cannot be installed.
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
  console.log(`${path}: written, with new secrets`);
} catch (error) {
  if (error.code !== 'EEXIST') throw error;
  console.log(`${path}: exists already and was not changed`);
}

/** Hexadecimal, which needs no escaping in a file or a URL. */
function secret(bytes) {
  return randomBytes(bytes).toString('hex');
}
