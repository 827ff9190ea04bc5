/** Pages in Debian's Chromium, without a window. A page that logs an error, such as a violation of its policy, fails. */
import assert from 'node:assert/strict';
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { findBrowser } from '../../src/dev/bootstrap/find-servers.mjs';
import { type Scope, use } from '../use.ts';

export function useChromium(scope: Scope): Promise<Browser> {
  const executablePath = findBrowser();
  assert.ok(executablePath, 'chromium is not installed; npm test installs it');
  // Root, as in containers, has no sandbox.
  return use(scope, () => chromium.launch({ executablePath, chromiumSandbox: false }));
}

export interface TestPage extends Page {
  /** What the page logged as errors so far, failed requests excluded. */
  readonly logged: string[];
}

/** A page with cookies of its own. */
export async function usePage(
  scope: Scope,
  browser: Browser,
  choices: BrowserContextOptions = {},
): Promise<TestPage> {
  const context = await use(scope, () => browser.newContext(choices));
  const page = await context.newPage();
  const logged: string[] = [];
  page.on('pageerror', (error) => logged.push(String(error)));
  page.on('console', (message) => {
    // Browsers log refused requests and connections, which tests cause on purpose.
    const isRequest = /Failed to load resource|WebSocket connection/.test(message.text());
    if (message.type() === 'error' && !isRequest) logged.push(message.text());
  });
  return Object.assign(page, { logged });
}

/** Without what is hidden, unlike `textContent`. */
export function visibleText(locator: Locator): Promise<string> {
  // biome-ignore lint/performance/useDomNodeTextContent: see above.
  return locator.innerText();
}
