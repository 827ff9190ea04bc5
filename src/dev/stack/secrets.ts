/** The secrets of a private stack, generated once and kept in its home, so that tokens and data survive a restart. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Home } from './home.ts';

export interface Secrets {
  redisPassword: string;
  postgresPassword: string;
  jwtSecret: string;
  adminToken: string;
  merchantToken: string;
}

export function loadSecrets(home: Home): Secrets {
  if (existsSync(home.secretsFile)) return JSON.parse(readFileSync(home.secretsFile, 'utf8'));
  const secrets: Secrets = {
    redisPassword: randomSecret(),
    postgresPassword: randomSecret(),
    jwtSecret: randomSecret(),
    adminToken: randomSecret(),
    merchantToken: randomSecret(),
  };
  // Renamed into place: a truncated file would make the data inaccessible.
  const draft = `${home.secretsFile}.draft`;
  writeFileSync(draft, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, home.secretsFile);
  return secrets;
}

/** 192 bits as 48 characters that need no escaping in URLs, configuration files or shells. */
function randomSecret(): string {
  return randomBytes(24).toString('hex');
}
