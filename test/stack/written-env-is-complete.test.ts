/** `write-env.mjs` writes every variable that Compose and the processes need, and never overwrites a file. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEnv } from 'node:util';
import { use } from '../../harness/use.ts';
import { readAdminConfig, readHotPathConfig, readPersisterConfig } from '../../src/config.ts';

const REPOSITORY = join(import.meta.dirname, '../..');

test('a written .env is complete', async (t) => {
  const directory = await use(
    t,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-env-')),
    (path) => rmSync(path, { recursive: true }),
  );
  const write = (path: string) => {
    const script = join(REPOSITORY, 'scripts/write-env.mjs');
    const { status, stderr } = spawnSync(process.execPath, [script, path], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return readFileSync(path, 'utf8');
  };
  const path = join(directory, 'one');
  const text = write(path);
  const env = parseEnv(text);
  for (const read of [readHotPathConfig, readPersisterConfig, readAdminConfig]) read({ ...env });
  const compose = readFileSync(join(REPOSITORY, 'docker-compose.yml'), 'utf8');
  const wanted = [...compose.matchAll(/\$\{([A-Z_]+):\?/g)].map((match) => match[1]!);
  assert.ok(wanted.length > 0);
  assert.deepEqual(
    wanted.filter((name) => !env[name]),
    [],
  );
  assert.equal(statSync(path).mode & 0o077, 0, 'nobody else reads it');
  assert.equal(write(path), text, 'the file is unchanged');
  assert.notEqual(write(join(directory, 'another')), text, 'every file has new secrets');
});
