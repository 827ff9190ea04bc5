/** The stack of `npm start` of a checkout of this repository, which may be an earlier commit. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import type { CommandSession } from '../../harness/command/command-session.ts';
import { eventually } from '../../harness/eventually.ts';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { JWT_SECRET } from '../load/buyers.ts';
import { expect } from './scenario.ts';

export interface CheckoutStack {
  description: StackDescription;
  sql: postgres.Sql;
  /** Its data stays in its home. */
  stop(): Promise<void>;
}

/** The first start of a checkout installs its packages. */
const START = { timeoutMs: 180_000 };

/** Resolves when admin is ready. The session stops it. */
export async function startCheckout(
  directory: string,
  session: CommandSession,
  home = mkdtempSync(join(tmpdir(), 'home-')),
): Promise<CheckoutStack> {
  const [hotPathPort, adminPort] = await findFreePorts(2);
  const child = spawn('npm', ['run', '--silent', 'start'], {
    cwd: directory,
    env: {
      ...process.env,
      FLASH_SALE_HOME: home,
      HOT_PATH_PORT: String(hotPathPort),
      ADMIN_PORT: String(adminPort),
      LOG_LEVEL: 'warn',
      JWT_SECRET,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(child, 'exit');
  const end = async () => {
    child.kill('SIGTERM');
    await exited;
  };
  session.after(end);
  const description = await eventually(async () => {
    session.stopping.throwIfAborted();
    const found = JSON.parse(readFileSync(join(home, 'stack.json'), 'utf8')) as StackDescription;
    const { status } = await fetch(`${found.adminUrl}/readyz`);
    expect(status === 200, 'admin is not ready');
    return found;
  }, START);
  const sql = postgres(description.postgresUrl, { max: 1, onnotice: () => undefined });
  session.after(() => sql.end());
  const stop = async () => {
    await sql.end();
    await end();
  };
  return { description, sql, stop };
}

/** Creates and opens a sale of one SKU. Returns its id. */
export async function openCheckoutSale(
  { description }: CheckoutStack,
  stock: number,
): Promise<string> {
  const saleId = `sale-${Math.random().toString(36).slice(2, 10)}`;
  const post = async (path: string, body?: object) => {
    const response = await fetch(`${description.adminUrl}/admin/v1${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${description.adminToken}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
    });
    expect(response.ok, `${path} got ${response.status}: ${await response.text()}`);
  };
  await post('/sales', {
    saleId,
    name: 'Bench',
    currency: 'EUR',
    skus: [{ sku: 'unit', name: 'Unit', price: 1_000, stock }],
  });
  await post(`/sales/${saleId}/open`);
  return saleId;
}
