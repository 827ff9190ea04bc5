/** `.env.example` documents every variable, and none that has been removed. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  readAdminConfig,
  readHotPathConfig,
  readPersisterConfig,
  VARIABLES,
} from '../../src/config.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const text = readFileSync(join(REPOSITORY, '.env.example'), 'utf8');
const compose = ['docker-compose.yml', 'deploy/compose/cluster.yml']
  .map((path) => readFileSync(join(REPOSITORY, path), 'utf8'))
  .join('\n')
  // A dollar sign of a script, not the begin of a variable.
  .replaceAll('$$', '');

/** Not read by src/config.ts: it sets the directory of the development stack, before any configuration is read. */
const FOR_DEVELOPERS = ['FLASH_SALE_HOME'];

const listed = new Map(
  [...text.matchAll(/^([A-Z][A-Z0-9_]*)=(.*)$/gm)].map((match) => [match[1]!, match[2]!]),
);
const known = new Set([...Object.values(VARIABLES).flat(), ...FOR_DEVELOPERS]);
const usedByCompose = new Set([...compose.matchAll(/\$\{([A-Z0-9_]+)/g)].map((match) => match[1]!));

describe('.env.example', () => {
  it('lists every variable that a process reads', () => {
    assert.deepEqual(
      [...known].filter((name) => !listed.has(name)),
      [],
    );
  });

  it('lists every variable that the Compose files read', () => {
    assert.deepEqual(
      [...usedByCompose].filter((name) => !listed.has(name)),
      [],
    );
  });

  it('lists no variable that nothing reads', () => {
    const stale = [...listed.keys()].filter((name) => !known.has(name) && !usedByCompose.has(name));
    assert.deepEqual(stale, []);
  });

  it('explains each variable or group of variables in the lines above', () => {
    const groups = text.split(/\n{2,}/).filter((paragraph) => /^[A-Z][A-Z0-9_]*=/m.test(paragraph));
    assert.deepEqual(
      groups.filter((paragraph) => !paragraph.startsWith('# ')),
      [],
    );
  });

  it('has the defaults of the code, so that copying it changes nothing', () => {
    const secrets = { JWT_SECRET: 's'.repeat(32), ADMIN_TOKENS: 'operator:0123456789abcdef' };
    const copied = { ...Object.fromEntries(listed), ...secrets };
    assert.deepEqual(readHotPathConfig(copied), readHotPathConfig(secrets));
    assert.deepEqual(readPersisterConfig(copied), readPersisterConfig(secrets));
    assert.deepEqual(readAdminConfig(copied), readAdminConfig(secrets));
  });
});
