/** The proxies of `deploy/` may share a host with the engine: they listen on no port that it uses by default. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const REPOSITORY = join(import.meta.dirname, '../..');

function portsIn(file: string, pattern: RegExp): string[] {
  const text = readFileSync(join(REPOSITORY, file), 'utf8');
  return [...text.matchAll(pattern)].map(([, port]) => port!);
}

const ENGINE = portsIn('.env.example', /^#? ?\w+_PORT=(\d+)/gm);

for (const file of ['deploy/nginx/flash-sale.conf', 'deploy/haproxy/haproxy.cfg']) {
  test(`${file} uses ports of its own`, () => {
    const ports = portsIn(file, /^ *(?:# )?(?:listen |bind :)(\d+)/gm);
    assert.equal(ports.length, 4, 'buyers and operators, with and without TLS');
    assert.ok(ENGINE.length >= 3, 'three processes have a port');
    assert.deepEqual(
      ports.filter((port) => ENGINE.includes(port)),
      [],
    );
  });
}
