/** The shop front in a browser, on an origin of its own, with a real engine and the example checkout. */
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Checkout } from '../../examples/checkout/checkout.ts';
import { MerchantApi } from '../../examples/checkout/merchant-api.ts';
import { PaymentProvider } from '../../examples/checkout/payment-provider.ts';
import { startServer } from '../../examples/checkout/server.ts';
import { Shopper } from '../../examples/checkout/simulation.ts';
import { startStorefront } from '../../examples/storefront/server.ts';
import { assertAccessible } from '../../harness/browser/axe.ts';
import {
  type TestPage,
  useChromium,
  usePage,
  visibleText,
} from '../../harness/browser/chromium.ts';
import { TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { JWT_SECRET, useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale, type SaleChoices, setStatus } from '../../harness/sales/sales.ts';
import { FILE, use } from '../../harness/use.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const PAY_SECRET = 'the-secret-between-shop-front-and-checkout';
const PEOPLE_PREFIX = 'person-';
const MARKUP = '<script>alert(1)</script> & Phone';
const UNIT = { sku: 'unit', name: 'Phone', price: 49_900 };

const browser = await useChromium(FILE);
const admin = await useAdmin(FILE);
await admin.app.listen({ port: 0, host: '127.0.0.1' });
const adminUrl = `http://127.0.0.1:${(admin.app.server.address() as AddressInfo).port}`;
await usePersister(FILE, admin.redis.url, admin.databaseUrl);
const [port] = (await findFreePorts(1)) as [number];
const hotPath = await useHotPath(FILE, admin.redis.url, {
  CORS_ORIGINS: `http://127.0.0.1:${port}`,
});
const checkout = await use(FILE, startCheckout);
const storefront = await use(FILE, () =>
  startStorefront({
    host: '127.0.0.1',
    port,
    hotPathUrl: hotPath.url,
    saleId: 'none',
    jwtSecret: JWT_SECRET,
    checkoutUrl: checkout.url,
    paySecret: PAY_SECRET,
    peoplePrefix: PEOPLE_PREFIX,
  }),
);

async function startCheckout() {
  const stopping = new AbortController();
  const engine = new MerchantApi(adminUrl, TOKENS.merchant);
  const provider = new PaymentProvider({ refused: 0, lost: 0, slow: 0, slowMs: 0 });
  const shopper = new Shopper({ abandoning: 0, thinkingMs: 0, peoplePrefix: PEOPLE_PREFIX });
  const server = await startServer(
    { host: '127.0.0.1', port: 0, webhookSecret: 'whsec_bm90LXVzZWQ=', paySecret: PAY_SECRET },
    new Checkout({ engine, provider, shopper }, stopping.signal),
  );
  const close = async () => {
    stopping.abort();
    await server.close();
    await engine.close();
  };
  return { url: server.url, provider, close };
}

/** A visitor of the shop front, with cookies of their own. */
async function useVisitor(
  t: TestContext,
  { saleId }: SaleDefinition,
  choices: Parameters<typeof usePage>[2] = {},
): Promise<TestPage> {
  const page = await usePage(t, browser, choices);
  page.setDefaultTimeout(15_000);
  await page.goto(`${storefront.url}/?sale=${saleId}`);
  await shows(page, '#connection', /^Live$/);
  t.after(() => assert.deepEqual(page.logged, []));
  return page;
}

async function shows(page: TestPage, selector: string, text: RegExp): Promise<void> {
  await eventually(async () => assert.match(await visibleText(page.locator(selector)), text), {
    timeoutMs: 15_000,
  });
}

function sell(choices: SaleChoices): Promise<SaleDefinition> {
  return makeSale(admin, { skus: [UNIT], ...choices });
}

const button = (page: TestPage, name: string) => page.getByRole('button', { name, exact: true });

test('a person waits for the start, buys, and pays with the second card', async (t) => {
  const sale = await sell({
    name: `Sale ${MARKUP}`,
    stock: 5,
    status: 'draft',
    skus: [{ ...UNIT, name: MARKUP }],
  });
  const page = await useVisitor(t, sale);
  assert.equal(await page.locator('h1').textContent(), `Sale ${MARKUP}`, 'markup is text');
  assert.equal(await page.locator('#offers h3').textContent(), MARKUP);
  await shows(page, '#sale-state', /^Not started$/);
  await setStatus(admin, { ...sale, startsAt: Date.now() + 4_000 }, 'open');
  await shows(page, '#countdown', /^Starts in 00:0[1-4]$/);
  assert.ok(await button(page, 'Buy one').isDisabled());
  await eventually(async () => assert.ok(await button(page, 'Buy one').isEnabled()));
  assert.ok(await page.locator('#countdown').isHidden());

  await button(page, 'Buy one').click();
  await shows(page, '#reservations', /Held for you\. Number 1 in this sale\./);
  await shows(page, '#reservations', /Pay within 0[45]:\d\d/);
  await shows(page, '#offers .left', /^4 units left$/);
  await page.getByLabel('Card').selectOption({ label: 'a card that is refused' });
  await button(page, 'Pay').click();
  await shows(page, '#reservations .result', /was refused.*Nothing was charged/);
  assert.equal(checkout.provider.kept, 0);
  await page.getByLabel('Card').selectOption({ label: 'a card that works' });
  await button(page, 'Pay').click();
  await shows(page, '#reservations', /Paid\. Number 1 in this sale\./);
  assert.equal(checkout.provider.keptTotal, 49_900);
  assert.ok(await button(page, 'Pay').isHidden());

  await button(page, 'Buy another').click();
  await shows(page, '#offers .result', /as many as one buyer may have/);
  await assertAccessible(page, 'paid');
});

test('a hold ends, and the waitlist serves the next person, who gives it back', async (t) => {
  const sale = await sell({ stock: 1, holdSeconds: 10, waitlistHoldSeconds: 60 });
  const [ada, bob] = await Promise.all([useVisitor(t, sale), useVisitor(t, sale)]);
  await button(ada, 'Buy one').click();
  await shows(ada, '#reservations', /Pay within 00:(10|0\d)/);
  await shows(bob, '#offers .left', /^Sold out$/);
  await shows(bob, '#sale-state', /^Sold out$/);
  await button(bob, 'Join the waitlist').click();
  await shows(bob, '#offers .wait', /number 1 on the waitlist/);
  await assertAccessible(bob, 'on the waitlist');
  await shows(ada, '#reservations', /The hold has ended/);
  assert.ok(await button(ada, 'Pay').isHidden());
  await shows(bob, '#reservations', /Held for you from the waitlist/);
  await assertAccessible(bob, 'held');
  assert.ok(await bob.locator('#offers .wait').isHidden());
  await button(bob, 'Give back').click();
  await shows(bob, '#reservations', /Given back/);
  await shows(ada, '#offers .left', /^1 unit left$/);
});

test('a pause, a lost connection and a recovery are shown, and end by themselves', async (t) => {
  const sale = await sell({ stock: 2 });
  const page = await useVisitor(t, sale);
  await setStatus(admin, sale, 'paused');
  await shows(page, '#sale-state', /^Paused$/);
  assert.ok(await button(page, 'Buy one').isDisabled());
  await setStatus(admin, sale, 'open');
  await eventually(async () => assert.ok(await button(page, 'Buy one').isEnabled()));

  // Chromium does not always cut a WebSocket at the first try.
  await eventually(
    async () => {
      await page.context().setOffline(false);
      await page.context().setOffline(true);
      const said = page.locator('#connection', { hasText: /^No connection/ });
      await said.waitFor({ timeout: 4_000 });
    },
    { timeoutMs: 20_000 },
  );
  await page.context().setOffline(false);
  await shows(page, '#connection', /^Live$/);

  let refusals = 0;
  await page.route('**/buy', async (route) => {
    if (route.request().method() !== 'POST' || refusals++ > 0) return route.continue();
    return route.fulfill({
      status: 503,
      headers: {
        'access-control-allow-origin': storefront.url,
        'access-control-expose-headers': 'Retry-After',
        'retry-after': '3',
      },
      contentType: 'application/problem+json',
      body: JSON.stringify({ title: 'Recovering', status: 503, code: 'recovering' }),
    });
  });
  await button(page, 'Buy one').click();
  await shows(page, '#offers .result', /recovering from a failure/);
  await shows(page, '#offers .result', /It is held for you\. You are number 1\./);

  await setStatus(admin, sale, 'ended');
  await shows(page, '#sale-state', /^Ended$/);
});

test('it works with the keyboard alone, in 360 pixels, in the dark', async (t) => {
  const sale = await sell({ stock: 2, name: `A ${'very '.repeat(20)}long name`, perBuyerLimit: 2 });
  const page = await useVisitor(t, sale, {
    viewport: { width: 360, height: 640 },
    colorScheme: 'dark',
  });
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await shows(page, '#reservations', /Held for you/);
  const width = await page.evaluate<number>('document.documentElement.scrollWidth');
  assert.ok(width <= 360, `${width} px wide`);
  const back = await page.evaluate('getComputedStyle(document.body).backgroundColor');
  assert.equal(back, 'rgb(20, 22, 26)');
  // Focus is not lost when the button that has it disappears.
  await page.getByRole('button', { name: 'Give back' }).focus();
  await page.keyboard.press('Enter');
  await shows(page, '#reservations', /Given back/);
  const focused = await page.evaluate('document.activeElement.tagName');
  assert.notEqual(focused, 'BODY');
});

test('another site can neither pay nor change the buyer', async () => {
  for (const path of ['/pay', '/login']) {
    const forged = await fetch(storefront.url + path, {
      method: 'POST',
      headers: { origin: 'https://evil.example' },
    });
    assert.equal(forged.status, 403, path);
  }
  const unsigned = await fetch(`${storefront.url}/pay`, {
    method: 'POST',
    headers: { origin: storefront.url, cookie: 'shop-session=person-1.forged' },
    body: '{}',
  });
  assert.equal(unsigned.status, 401);
  for (const path of ['/../package.json', '/examples/storefront/login.ts', '/%2e%2e/x']) {
    assert.equal((await fetch(storefront.url + path)).status, 404, path);
  }
});
