/** `demo --storefront` as people run it: a shop front whose origin the hot path accepts, and an end without leftovers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allPids,
  isAlive,
  MAIN_MODULE,
  until,
  useStackHome,
} from '../../harness/engine/stack-process.ts';

void test('the shop front is served, its pages may call the hot path, and Ctrl-C stops everything', async (t) => {
  const demo = (await useStackHome(t)).start({
    command: [MAIN_MODULE, 'demo', '--storefront', '--buyers', '20', '--units', '5'],
  });
  const account = () => demo.stderr + demo.stdout;
  const deadlineMs = 60_000;
  await until('the address is printed', () => demo.stdout.includes('dashboard'), {
    account,
    deadlineMs,
  });
  const [, url] = /^shop front {2}(\S+)$/m.exec(demo.stdout)!;
  const page = await fetch(url!);
  assert.match(await page.text(), /<h1 id="sale-name">/);
  const policy = page.headers.get('content-security-policy')!;
  assert.match(policy, /script-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);

  const settings = (await (await fetch(`${url}/settings`)).json()) as Record<string, string>;
  const sale = await fetch(`${settings.hotPathUrl}/v1/sales/${settings.saleId}`, {
    headers: { origin: url! },
  });
  assert.equal(sale.headers.get('access-control-allow-origin'), url);
  const { startsAt } = (await sale.json()) as { startsAt: string };
  assert.ok(Date.parse(startsAt) > Date.now(), 'there is time to open the page');

  const pids = allPids(demo.describe());
  demo.child.kill('SIGINT');
  assert.equal(await demo.ended(), 0, account());
  assert.deepEqual(pids.filter(isAlive), []);
  await assert.rejects(fetch(url!), 'the shop front is stopped');
});
