/** A sale changes its status only along its lifecycle, and an open sale keeps the terms on which buyers rely. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  callAdmin,
  makeDraft,
  newSale,
  stateInRedis,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const replica = await useApp(FILE, admin);

const IMPOSSIBLE: [done: string[], action: string, from: string, to: string][] = [
  [[], 'pause', 'draft', 'paused'],
  [['open', 'pause'], 'open', 'paused', 'open'],
  [['end'], 'open', 'ended', 'open'],
  [['open', 'end'], 'pause', 'ended', 'paused'],
  [['open', 'end'], 'resume', 'ended', 'open'],
];
for (const [done, action, from, to] of IMPOSSIBLE) {
  test(`${action} of a sale that is ${from} (after ${done.join(', ') || 'nothing'}) is rejected`, async () => {
    const saleId = await makeDraft(admin);
    for (const one of done) {
      assert.equal((await admin.call(`POST /sales/${saleId}/${one}`)).status, 200);
    }
    const refused = await admin.call(`POST /sales/${saleId}/${action}`);
    assert.equal(refused.status, 409);
    assert.equal(refused.body.code, 'invalid_transition');
    assert.deepEqual([refused.body.from, refused.body.to], [from, to]);
  });
}

test('a transition to the current status gets 200 and is no operation', async () => {
  const saleId = await makeDraft(admin);
  for (const [action, status] of [
    ['open', 'open'],
    ['open', 'open'],
    ['pause', 'paused'],
    ['pause', 'paused'],
    ['resume', 'open'],
    ['resume', 'open'],
    ['end', 'ended'],
    ['end', 'ended'],
  ] as const) {
    const response = await admin.call(`POST /sales/${saleId}/${action}`);
    assert.deepEqual([response.status, response.body.status], [200, status]);
    assert.equal((await stateInRedis(admin, saleId)).definition.status, status);
  }
  assert.equal((await stateInRedis(admin, saleId)).operation, 5);
});

test('ten concurrent requests to open a sale are one operation', async () => {
  const saleId = await makeDraft(admin);
  const responses = await Promise.all(
    Array.from({ length: 10 }, (_, index) =>
      callAdmin(index % 2 ? replica : admin.app, `POST /sales/${saleId}/open`),
    ),
  );
  assert.ok(responses.every(({ status, body }) => status === 200 && body.status === 'open'));
  assert.equal((await stateInRedis(admin, saleId)).operation, 2);
});

test('a draft can change in everything except its currency', async () => {
  const saleId = await makeDraft(admin);
  const patched = await admin.call(`PATCH /sales/${saleId}`, {
    body: {
      name: 'Better phones',
      startsAt: '2031-01-01T00:00:00Z',
      endsAt: '2031-01-02T00:00:00Z',
      perBuyerLimit: 3,
      holdSeconds: 60,
      skus: [
        { sku: 'black', price: 5 },
        { sku: 'red', name: 'Red', price: 6, stock: 4 },
      ],
    },
  });
  assert.equal(patched.status, 200, JSON.stringify(patched.body));
  const { definition, stock } = await stateInRedis(admin, saleId);
  assert.equal(definition.name, 'Better phones');
  assert.deepEqual([definition.perBuyerLimit, definition.holdSeconds], [3, 60]);
  assert.deepEqual(definition.skus, [
    { sku: 'black', name: 'Black', price: 5 },
    { sku: 'red', name: 'Red', price: 6 },
  ]);
  assert.deepEqual([stock[1]?.sku, stock[1]?.loaded, stock[1]?.remaining], ['red', 4, 4]);
  assert.equal(patched.body.startsAt, '2031-01-01T00:00:00.000Z');
  for (const [body, field] of [
    [{ currency: 'USD' }, 'currency'],
    [{ skus: [{ sku: 'black', stock: 5 }] }, 'skus.0.stock'],
    [{ skus: [{ sku: 'green' }] }, 'skus.0.price'],
    [{ endsAt: '2030-01-01T00:00:00Z' }, 'endsAt'],
  ] as const) {
    const refused = await admin.call(`PATCH /sales/${saleId}`, { body });
    assert.deepEqual([refused.status, refused.body.errors[0].field], [422, field]);
  }
  const same = await admin.call(`PATCH /sales/${saleId}`, { body: { name: 'Better phones' } });
  assert.equal(same.status, 200);
  assert.equal((await stateInRedis(admin, saleId)).operation, 2);
});

test("a SKU's limit per buyer can be set with the sale, and changed and removed until the sale has ended", async () => {
  const saleId = await makeDraft(admin, {
    perBuyerLimit: 5,
    skus: [
      { sku: 'black', name: 'Black', price: 5, stock: 10, perBuyerLimit: 2 },
      { sku: 'red', name: 'Red', price: 5, stock: 10 },
    ],
  });
  const limitsAfter = async (skus?: object[]) => {
    const request = skus ? 'PATCH' : 'GET';
    const reply = await admin.call(`${request} /sales/${saleId}`, skus ? { body: { skus } } : {});
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    const { definition } = await stateInRedis(admin, saleId);
    const shown = reply.body.skus as { perBuyerLimit: number | null }[];
    assert.deepEqual(
      shown.map(({ perBuyerLimit }) => perBuyerLimit),
      definition.skus.map(({ perBuyerLimit }) => perBuyerLimit ?? null),
    );
    return shown.map(({ perBuyerLimit }) => perBuyerLimit);
  };
  assert.deepEqual(await limitsAfter(), [2, null]);
  const next = [
    { sku: 'black', perBuyerLimit: null },
    { sku: 'red', perBuyerLimit: 3 },
    { sku: 'blue', price: 1, perBuyerLimit: 1 },
  ];
  assert.deepEqual(await limitsAfter(next), [null, 3, 1]);
  assert.deepEqual(await limitsAfter([{ sku: 'red', name: 'Rot' }]), [null, 3, 1]);
  const { operation } = await stateInRedis(admin, saleId);
  assert.deepEqual(await limitsAfter(next), [null, 3, 1]);
  assert.equal((await stateInRedis(admin, saleId)).operation, operation, 'nothing had changed');
  await admin.call(`POST /sales/${saleId}/open`);
  assert.deepEqual(await limitsAfter([{ sku: 'red', perBuyerLimit: 2 }]), [null, 2, 1]);
  await admin.call(`POST /sales/${saleId}/end`);
  assert.deepEqual(await limitsAfter([{ sku: 'red', perBuyerLimit: 2 }]), [null, 2, 1]);
  for (const [sku, perBuyerLimit] of [
    ['black', 1],
    ['red', null],
  ]) {
    const late = await admin.call(`PATCH /sales/${saleId}`, {
      body: { skus: [{ sku, perBuyerLimit }] },
    });
    assert.deepEqual(
      [late.status, late.body.errors[0].field],
      [409, 'skus.0.perBuyerLimit'],
      JSON.stringify(late.body),
    );
  }
  const report = await admin.call(`GET /sales/${saleId}/verify`);
  assert.deepEqual(
    report.body.checks.filter(({ ok }: { ok: boolean }) => !ok),
    [],
  );
});

test('the waitlist holds as long as purchases, unless the sale says otherwise', async () => {
  const saleId = await makeDraft(admin, { holdSeconds: 60 });
  const patch = (body: object) => admin.call(`PATCH /sales/${saleId}`, { body });
  const shown = async () => {
    const { body } = await admin.call(`GET /sales/${saleId}`);
    const { definition } = await stateInRedis(admin, saleId);
    return [body.waitlistHoldSeconds, definition.waitlistHoldSeconds];
  };
  assert.deepEqual(await shown(), [60, undefined]);
  assert.equal((await patch({ holdSeconds: 90 })).body.waitlistHoldSeconds, 90);
  assert.equal((await patch({ waitlistHoldSeconds: 600 })).status, 200);
  assert.deepEqual(await shown(), [600, 600]);
  assert.equal((await patch({ holdSeconds: 120 })).body.waitlistHoldSeconds, 600);
  assert.equal((await patch({ waitlistHoldSeconds: null })).status, 200);
  assert.deepEqual(await shown(), [120, undefined]);
  assert.equal((await patch({ waitlistHoldSeconds: 600 })).status, 200);

  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  for (const waitlistHoldSeconds of [601, null]) {
    const refused = await patch({ waitlistHoldSeconds });
    assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
    assert.equal(refused.body.errors[0].field, 'waitlistHoldSeconds');
  }
  const { operation } = await stateInRedis(admin, saleId);
  assert.equal((await patch({ waitlistHoldSeconds: 600 })).status, 200, 'this changes nothing');
  assert.equal((await stateInRedis(admin, saleId)).operation, operation);
  assert.deepEqual(await shown(), [600, 600]);
  const { body } = await admin.call(`GET /sales/${saleId}/verify`);
  assert.equal(body.ok, true);

  const created = await admin.call('POST /sales', { body: newSale({ waitlistHoldSeconds: 5 }) });
  assert.deepEqual(
    [created.body.holdSeconds, created.body.waitlistHoldSeconds],
    [300, 5],
    JSON.stringify(created.body),
  );
});

test('an open sale cannot change the terms on which buyers rely', async () => {
  const saleId = await makeDraft(admin, { startsAt: '2031-01-01T00:00:00Z' });
  await admin.call(`POST /sales/${saleId}/open`);
  const patch = (body: object) => admin.call(`PATCH /sales/${saleId}`, { body });
  assert.equal((await patch({ holdSeconds: 10 })).body.code, 'invalid_transition');
  const added = [{ sku: 'red', price: 1 }];
  assert.deepEqual((await patch({ skus: added })).body.errors[0].field, 'skus.0.sku');
  assert.equal((await patch({ name: 'New', perBuyerLimit: 5 })).status, 200);
  assert.equal((await patch({ startsAt: null })).status, 200, 'the sale had not started');
  assert.equal(
    (await patch({ startsAt: '2032-01-01T00:00:00Z' })).status,
    409,
    'the sale has started',
  );
  const end = { endsAt: '2020-01-01T00:00:00Z' };
  assert.equal((await patch(end)).status, 200, 'this ends the sale');
  assert.equal((await patch(end)).status, 200, 'a repeated request gets the first response');
  assert.equal(
    (await patch({ endsAt: '2033-01-01T00:00:00Z' })).status,
    409,
    'buyers know that it has ended',
  );
  assert.equal((await patch({ name: 'Newer' })).status, 409, 'an ended sale does not change');
});
