/** A chaos suite or bench that is stopped in the middle reports its progress and leaves neither processes nor files. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sharedCode } from '../../harness/engine/shared-code.ts';
import { eventually } from '../../harness/eventually.ts';
import { RECORDS_VARIABLE } from '../../harness/servers/process-records.ts';
import { use } from '../../harness/use.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const SET_UP = join(REPOSITORY, 'scripts/set-up.mjs');

/** Runs a command under set-up, as npm does, in its own process group, and stops it when its output matches. */
async function stopped(
  t: TestContext,
  args: string[],
  choices: { when: RegExp | 'it makes its PostgreSQL'; signal: (pid: number) => unknown },
) {
  const temporary = await use(
    t,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-stopped-')),
    (path) => rmSync(path, { recursive: true, force: true }),
  );
  chmodSync(temporary, 0o755);
  const child = spawn(process.execPath, [SET_UP, ...args], {
    cwd: REPOSITORY,
    env: {
      PATH: process.env.PATH,
      ...sharedCode(),
      TMPDIR: temporary,
      [RECORDS_VARIABLE]: process.env[RECORDS_VARIABLE],
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  await use(
    t,
    () => child,
    () => child.kill('SIGTERM'),
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const { when } = choices;
  if (when instanceof RegExp) {
    await eventually(() => assert.match(output, when), { timeoutMs: 90_000 });
    // Into the middle of the next step.
    await sleep(2_000);
    assert.ok(processesIn(temporary).length > 0, 'servers run');
  } else {
    await eventually(() => assert.match(processesIn(temporary).join('\n'), /initdb/));
    // By then it handles signals.
    await sleep(150);
  }
  const ended = once(child, 'close');
  choices.signal(child.pid!);
  const [code] = (await ended) as [number | null];
  assert.deepEqual(processesIn(temporary), [], 'no server is left');
  assert.deepEqual(readdirSync(temporary), [], 'no file is left');
  return { code, output };
}

/** Servers have the path of their data in their arguments. */
function processesIn(directory: string): string[] {
  const table = execFileSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' });
  return table.split('\n').filter((line) => line.includes(directory));
}

test('the chaos suite stops at Ctrl-C in its second run', async (t) => {
  // A short run: six faults, no archive and no backup.
  const args = ['--runs', '3', '--seed', '43', '--buyers', '10'];
  const { code, output } = await stopped(t, ['chaos/main.ts', ...args], {
    when: /^seed 43 .*$/m,
    signal: (pid) => process.kill(-pid, 'SIGINT'),
  });
  assert.equal(code, 130, output);
  assert.match(output, /Stopped by SIGINT after \d+ s/);
  assert.match(output, /1 of 1 runs kept every promise/);
  assert.doesNotMatch(output, /Error|seed 44/);
});

test('the chaos suite stops at Ctrl-C before it has servers', async (t) => {
  const { code, output } = await stopped(t, ['chaos/main.ts'], {
    when: 'it makes its PostgreSQL',
    signal: (pid) => process.kill(-pid, 'SIGINT'),
  });
  assert.equal(code, 130, output);
  assert.match(output, /^\nStopped by SIGINT after \d+ s\nNo result was written\.\n$/);
});

/** Otherwise the servers would end first, and their users would fail before they are stopped. */
test('servers of a command session do not get its Ctrl-C, and a second signal has no effect', async (t) => {
  const program = `
    import { setTimeout as sleep } from 'node:timers/promises';
    import { openCommandSession } from ${JSON.stringify(join(REPOSITORY, 'harness/command/command-session.ts'))};
    import { repliesToPing, startRedis } from ${JSON.stringify(join(REPOSITORY, 'harness/servers/redis.ts'))};
    const { after } = openCommandSession();
    const redis = await startRedis();
    after(() => redis.stop());
    after(async () => {
      await sleep(1_500);
      console.log(await repliesToPing(redis.port) ? 'still running' : 'ended');
    });
    console.log('up');
    setInterval(() => undefined, 1_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  await use(
    t,
    () => child,
    () => child.kill('SIGTERM'),
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await eventually(() => assert.match(output, /up/), { timeoutMs: 20_000 });
  const ended = once(child, 'close');
  process.kill(-child.pid!, 'SIGINT');
  await sleep(50);
  child.kill('SIGINT'); // Set-up forwards the signal too.
  await ended;
  assert.match(output, /still running/);
});
