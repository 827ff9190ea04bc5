/** The dashboard in a real browser: signing in, selling, watching, pausing, verifying, and what axe finds. */
import assert from 'node:assert/strict';
import { afterEach, describe, it, type TestContext } from 'node:test';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { assertAccessible } from '../../harness/browser/axe.ts';
import {
  type TestPage,
  useChromium,
  usePage,
  visibleText,
} from '../../harness/browser/chromium.ts';
import { buyFor, getAdmin, operate } from '../../harness/crowds/stack-client.ts';
import { useStackHome } from '../../harness/engine/stack-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { FILE } from '../../harness/use.ts';

const SALE = 'phones';
const NAME = 'Phones <script>alert("sale")</script>';
const SKU_NAME = 'Black <img src=x onerror=alert(1)>';
const UNITS = 500;
/** Opening a screen and reading it takes a second on a slow machine. */
const STEP_MS = 15_000;
const DEVICE_AHEAD_MS = 20 * 60_000;

const home = await useStackHome(FILE);
const stack = await home.start().ready();
const browser = await useChromium(FILE);
const pages: TestPage[] = [];

async function openPage(
  scope: TestContext | typeof FILE,
  options: BrowserContextOptions = {},
): Promise<TestPage> {
  const page = await usePage(scope, browser, { locale: 'en-US', ...options });
  page.setDefaultTimeout(STEP_MS);
  page.on('dialog', (dialog) => {
    page.logged.push(`a text was run as a script: ${dialog.message()}`);
    void dialog.dismiss();
  });
  pages.push(page);
  return page;
}

async function signIn(
  page: Page,
  token: string,
  path = '',
  adminUrl = stack.adminUrl,
): Promise<void> {
  await page.goto(`${adminUrl}/#/${path}`);
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
}

async function go(page: Page, path: string, heading: string | RegExp): Promise<void> {
  await page.evaluate(`location.hash = ${JSON.stringify(`#/${path}`)}`);
  await page.getByRole('heading', { level: 1, name: heading }).waitFor();
}

/** The number of a total in the panel of the state. */
async function totalOf(page: Page, name: string): Promise<number> {
  const text = await page.locator(`.total:has(dt:text-is("${name}")) .figure`).textContent();
  return Number(text?.replaceAll(',', ''));
}

/** Does what a button of the screen offers, after its dialog has said what that is. */
async function act(page: Page, button: string, says: RegExp, confirm: string): Promise<void> {
  await page.getByRole('button', { name: button, exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText(says).waitFor();
  await dialog.getByRole('button', { name: confirm }).click();
  await dialog.waitFor({ state: 'hidden' });
}

void describe('the dashboard', { concurrency: false }, () => {
  let page: Page;
  afterEach(() =>
    assert.deepEqual(
      pages.flatMap(({ logged }) => logged),
      [],
    ),
  );

  void it('signs in with a token and keeps it out of the page', async () => {
    page = await openPage(FILE);
    await page.goto(stack.adminUrl);
    await page.getByLabel('Token').fill('not-a-token-of-this-admin');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The admin does not know this token.').waitFor();
    await signIn(page, stack.adminToken);
    const kept = await page.evaluate('JSON.stringify([localStorage.length, document.cookie])');
    assert.equal(kept, '[0,""]');
  });

  void it('creates a sale whose names look like scripts, and shows them as text', async () => {
    await page.getByRole('button', { name: 'Create the first sale' }).click();
    await page.getByLabel('Name').first().fill(NAME);
    await page.getByRole('textbox', { name: 'Id' }).first().fill(SALE);
    const sku = page.getByRole('group', { name: 'SKU 1' });
    await sku.getByLabel('Id', { exact: true }).fill('black');
    await sku.getByLabel('Name').fill(SKU_NAME);
    await sku.getByLabel('Price in EUR').fill('499.90');
    await sku.getByLabel('Units', { exact: true }).fill(String(UNITS - 100));
    await page.getByRole('button', { name: 'Create the draft' }).click();
    await page.getByRole('heading', { level: 1, name: NAME }).waitFor();
    await page.getByRole('heading', { level: 3, name: SKU_NAME }).waitFor();
    await page.getByText('€499.90').first().waitFor();
    assert.equal(await page.locator('main script, main img').count(), 0);
  });

  void it('loads units and opens the sale, each after saying what it does in numbers', async () => {
    await page.getByRole('button', { name: 'Stock' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Units').fill('100');
    await dialog.getByText('Loaded: 400 → 500').waitFor();
    await dialog.getByRole('button', { name: 'Load 100 units' }).click();
    await dialog.waitFor({ state: 'hidden' });
    await act(page, 'Open', /Buyers can buy 500 units at once/, 'Open the sale');
    await page.locator('.state-word', { hasText: 'Open' }).waitFor();
  });

  void it('shows the numbers move while buyers buy', async () => {
    const bought = await buyFor(1_500, stack, SALE);
    assert.ok(bought.reserved.length > 0);
    await eventually(async () => {
      assert.equal(await totalOf(page, 'Held'), bought.reserved.length);
      assert.equal(await totalOf(page, 'Remaining'), UNITS - bought.reserved.length);
    });
    await page
      .getByRole('region', { name: 'Newest reservations' })
      .last()
      .getByText('buyer-')
      .first()
      .waitFor();
  });

  void it('shows a reservation with its history, and confirms it', async () => {
    await page
      .getByRole('region', { name: 'Newest reservations' })
      .last()
      .getByRole('link')
      .first()
      .click();
    await page.getByRole('heading', { level: 1, name: /Reservation phones_/ }).waitFor();
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.getByLabel('Payment reference').fill('pay-1');
    await page.getByRole('button', { name: 'Confirm 1 unit' }).click();
    await page
      .getByRole('listitem')
      .filter({ hasText: /^Confirmed/ })
      .waitFor();
    await eventually(async () => {
      await go(page, 'reservations?paymentRef=pay-1', 'Reservations');
      await page.locator('td .badge', { hasText: 'confirmed' }).waitFor({ timeout: 1_000 });
    });
  });

  void it('pauses the sale', async () => {
    await go(page, `sales/${SALE}`, NAME);
    await act(
      page,
      'Pause',
      /Nobody can buy until you resume it: \d+ of 500 units are left/,
      'Pause the sale',
    );
    await page.locator('.state-word', { hasText: 'Paused' }).waitFor();
    const { status } = (await getAdmin(stack, `/admin/v1/sales/${SALE}`)) as unknown as {
      status: string;
    };
    assert.equal(status, 'paused');
  });

  void it('verifies the sale', async () => {
    await go(page, `sales/${SALE}/verify`, 'Verify');
    await page.getByRole('button', { name: 'Verify the sale' }).click();
    await page.getByRole('heading', { name: 'Every promise is kept' }).waitFor();
  });

  void it('shows viewers and merchants no buttons that they may not press', async (test) => {
    const merchant = await openPage(test);
    await signIn(merchant, stack.merchantToken, `sales/${SALE}`);
    await merchant.locator('.state-word', { hasText: 'Paused' }).waitFor();
    assert.deepEqual(await merchant.getByRole('main').getByRole('button').allInnerTexts(), []);
  });

  void it('asks to sign in again when the session has ended, and goes on where it was', async () => {
    await go(page, `sales/${SALE}/audit`, 'Audit');
    await page.context().clearCookies();
    await go(page, 'dead-letters', 'Dead letters');
    const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
    await dialog.getByLabel('Token').fill(stack.adminToken);
    await dialog.getByRole('button', { name: 'Sign in' }).click();
    await dialog.waitFor({ state: 'hidden' });
    await page.getByText('There is none. That is how it should be.').waitFor();
  });

  void it('says so when admin does not respond, and recovers by itself', async () => {
    await go(page, `sales/${SALE}`, NAME);
    await page.locator('.state-word', { hasText: 'Paused' }).waitFor();
    // Without a response, as if the network were down. The kernel still accepts connections.
    process.kill(stack.pids.admin, 'SIGSTOP');
    await page.getByText(/^The live numbers have stopped/).waitFor();
    // The stack starts another one.
    process.kill(stack.pids.admin, 'SIGKILL');
    await page.getByText(/^Offline: the admin does not respond/).waitFor();
    await page.locator('.banner').waitFor({ state: 'hidden' });
    await page.locator('.state-word', { hasText: 'Paused' }).waitFor();
  });

  void it('recovers from connections that died silently', async (test) => {
    const admin = new URL(stack.adminUrl);
    const proxy = await useCuttableProxy(test, { host: admin.hostname, port: Number(admin.port) });
    const other = await openPage(test);
    await signIn(other, stack.adminToken, `sales/${SALE}`, `http://127.0.0.1:${proxy.port}`);
    const banner = other.getByText(/^(The live numbers have stopped|Offline)/);
    await other.getByRole('heading', { level: 1, name: NAME }).waitFor();
    proxy.strand();
    await banner.waitFor();
    await banner.waitFor({ state: 'hidden', timeout: 4 * STEP_MS });
    other.logged.length = 0; // Requests that got no response.
  });

  void it('counts down by the clock of the server on a device whose clock is wrong', async (test) => {
    const startsAt = Date.now() + 3_600_000;
    await operate(stack, '/admin/v1/sales', {
      saleId: 'later',
      name: 'Later',
      currency: 'EUR',
      perBuyerLimit: 1,
      holdSeconds: 60,
      startsAt: new Date(startsAt).toISOString(),
      endsAt: null,
      skus: [{ sku: 'black', name: 'Black', price: 100, stock: 10 }],
    });
    await operate(stack, '/admin/v1/sales/later/open');
    const wrong = await openPage(test);
    await wrong.addInitScript(`
      const Right = Date;
      globalThis.Date = class extends Right {
        constructor(...parts) { super(...(parts.length === 0 ? [Date.now()] : parts)); }
        static now() { return Right.now() + ${DEVICE_AHEAD_MS}; }
      };`);
    await signIn(wrong, stack.adminToken, 'sales/later');
    await wrong.getByText('The clock of this device is 20 minutes ahead of the server').waitFor();
    await eventually(async () => {
      const [minutes, seconds] = (await visibleText(wrong.getByRole('timer')))
        .split(':')
        .slice(-2)
        .map(Number);
      const leftMs = (minutes! * 60 + seconds!) * 1_000;
      assert.ok(Math.abs(leftMs - (startsAt - Date.now())) < 3_000, `${leftMs} ms are left`);
    });
  });

  void it('has nothing that axe finds, in light and dark, at 360 px', async (test) => {
    const narrow = await openPage(test, { viewport: { width: 360, height: 740 } });
    await narrow.goto(stack.adminUrl);
    await narrow.getByLabel('Token').waitFor();
    await assertAccessible(narrow, 'signing in');
    await signIn(narrow, stack.adminToken);
    const screens: [path: string, heading: string][] = [
      ['sales', 'Sales'],
      [`sales/${SALE}`, NAME],
      [`sales/${SALE}/edit`, 'Edit the sale'],
      ['reservations', 'Reservations'],
    ];
    for (const [path, heading] of screens) {
      await go(narrow, path, heading);
      await narrow.locator('.loading').waitFor({ state: 'detached' });
      await assertAccessible(narrow, path);
      const overflow = await narrow.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      );
      assert.equal(overflow, 0, `${path} is wider than the screen`);
    }
    await go(narrow, `sales/${SALE}`, NAME);
    await narrow.getByRole('button', { name: 'End', exact: true }).click();
    await narrow
      .getByRole('dialog')
      .getByText(/Ends the sale for good: \d+ of 500 units/)
      .waitFor();
    await assertAccessible(narrow, 'ending a sale');
  });
});
