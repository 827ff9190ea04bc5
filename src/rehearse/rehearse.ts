/**
 * `flash-sale rehearse`: tries out a deployed system with a synthetic crowd on a sale of its own, says whether it is ready
 * and why not, and removes the sale. In this order, and nothing after the first part that makes the rest meaningless:
 *
 *   admin and its token → leftovers of killed rehearsals → the sale → settings and clocks → the opening → single
 *   purchases → rows → wins → rows → refusals → every unit sold once → verify → the sale is removed
 */
import { Fault } from '../domain/fault.ts';
import { rehearsalId } from '../domain/rehearsal.ts';
import { AdminClient, type SaleSeen } from './admin-client.ts';
import { type Capacity, checkRefusals, checkWins, needOf, unitsOfLoad } from './check-capacity.ts';
import { checkClocks } from './check-clocks.ts';
import { checkOpening } from './check-opening.ts';
import { checkPurchases, checkRows, SINGLE_PURCHASES } from './check-purchases.ts';
import { checkSettings } from './check-settings.ts';
import { type RehearsalContext, SKU, saleUrl } from './context.ts';
import { type Finding, Findings } from './findings.ts';
import { problemIn, type Reply, send } from './http.ts';
import type { Settings } from './settings.ts';

/** The sale starts this long after the checks of the settings. */
const AHEAD_MS = 1_500;
/** A rehearsal that was killed ends by itself, and its leftovers then count as such. */
const ENDS_AFTER_MS = 10 * 60_000;
const HOLD_SECONDS = 3_600;

export interface Rehearsal {
  ready: boolean;
  saleId: string | undefined;
  /** Nothing of the sale remains. */
  removed: boolean;
  findings: Finding[];
  capacity: Capacity;
}

/** Rejects only if `stopping` is aborted; the sale is removed then too. */
export async function rehearse(
  settings: Settings,
  stopping: AbortSignal,
  report: (line: string) => void,
): Promise<Rehearsal> {
  const findings = new Findings(report);
  const admin = new AdminClient(settings, stopping);
  const capacity: Capacity = { need: needOf(settings), wins: undefined, refusals: undefined };
  const saleId = rehearsalId(Date.now().toString(36) + process.pid.toString(36));
  let isCreated = false;
  let removed = true;
  try {
    if (await checkAdmin(admin, findings, report)) {
      const step = (line: string) => {
        stopping.throwIfAborted();
        report(`\n${line}`);
      };
      const sold = new Set<string>();
      const context = { settings, admin, findings, saleId, sold, stopping, step };
      // From here on there may be a sale, also if the response is lost.
      isCreated = true;
      const created = await createSale(context);
      if (created) await runChecks(context, created, capacity);
      else isCreated = false;
    }
  } catch (error) {
    if (stopping.aborted || !(error instanceof Fault)) throw error;
    findings.fail('rehearsal', error.message, 'The rehearsal stopped here.');
  } finally {
    if (isCreated) removed = await removeSale(admin, saleId, findings, report);
  }
  return {
    ready: findings.isReady,
    saleId: isCreated ? saleId : undefined,
    removed,
    findings: findings.all,
    capacity,
  };
}

/** Removes what killed rehearsals left. Returns the number of sales that remain. */
export async function cleanUp(
  settings: Settings,
  stopping: AbortSignal,
  report: (line: string) => void,
): Promise<number> {
  const admin = new AdminClient(settings, stopping);
  const found = await admin.rehearsals();
  let remaining = 0;
  for (const { saleId } of found) {
    const reason = await admin.remove(saleId);
    if (reason !== undefined) remaining += 1;
    report(reason === undefined ? `${saleId}: removed` : `${saleId}: not removed: ${reason}`);
  }
  if (found.length === 0) report('There are no rehearsals.');
  return remaining;
}

/** False: the rest is impossible. */
async function checkAdmin(
  admin: AdminClient,
  findings: Findings,
  report: (line: string) => void,
): Promise<boolean> {
  report('Looking for admin and for leftovers of earlier rehearsals …');
  const reply = await admin.send('/sales?rehearsals=true&limit=1');
  if (reply.status === 401) {
    const advice = 'Set ADMIN_TOKENS=operator:<token> to a token that admin has.';
    findings.fail('admin', 'admin does not know the token', advice);
    return false;
  }
  if (reply.status !== 200) {
    findings.fail(
      'admin',
      problemIn(reply),
      'Is --admin-url the address of admin, of this version?',
    );
    return false;
  }
  findings.ok('admin', 'responds, and accepts the token');
  const left = await admin.rehearsals();
  const running = left.filter((sale) => !hasEnded(sale));
  if (running.length > 0) {
    findings.fail(
      'leftovers',
      running.map((sale) => `${sale.saleId} ends at ${sale.endsAt}`).join(', '),
      'Another rehearsal runs, or one was killed. Wait for it, or remove it: flash-sale rehearse --clean',
    );
    return false;
  }
  for (const { saleId } of left) {
    const reason = await admin.remove(saleId);
    if (reason === undefined)
      findings.ok('leftovers', `${saleId} of a killed rehearsal is removed`);
    else findings.warn('leftovers', `${saleId} is not removed: ${reason}`, 'Repeat with --clean.');
  }
  return true;
}

function hasEnded({ status }: SaleSeen): boolean {
  return status === 'ended';
}

/** What all parts together sell. */
function unitsOf(settings: Settings): number {
  return settings.hotPathUrls.length + SINGLE_PURCHASES + 1 + unitsOfLoad(settings);
}

async function runChecks(
  context: RehearsalContext,
  created: Reply,
  capacity: Capacity,
): Promise<void> {
  const { settings, admin, saleId, step, findings } = context;
  step('Settings …');
  await checkSettings(context);
  step('Clocks …');
  await checkClocks(context, created);
  step('Opening …');
  const startsAtMs = await scheduleStart(context);
  await checkOpening(context, startsAtMs);
  step('Single purchases …');
  await checkPurchases(context);
  if (!(await checkRows(context, 'of single purchases'))) return;

  const unitsOfWins = unitsOfLoad(settings);
  step(`Wins: ${unitsOfWins} buyers …`);
  capacity.wins = await checkWins(context, unitsOfWins);
  const isWritten = await checkRows(context, 'of the load');
  step(`Refusals for ${settings.loadSeconds} s …`);
  capacity.refusals = await checkRefusals(context);
  await checkSold(context, unitsOf(settings));
  await admin.end(saleId);
  if (!isWritten) return;
  step('Verifying …');
  const { ok, checks } = await admin.verify(saleId);
  const failed = checks.filter((check) => !check.ok);
  findings.expect(
    'verify',
    ok,
    ok
      ? `${checks.length} checks passed`
      : failed.map(({ name, actual }) => `${name}: ${String(actual)}`).join('; '),
    'Redis and PostgreSQL disagree about this sale. docs/VERIFY.md says what each check means.',
  );
}

/** Undefined: admin refused it, so there is no sale. */
async function createSale(context: RehearsalContext): Promise<Reply | undefined> {
  const { admin, saleId, findings, settings, step } = context;
  const units = unitsOf(settings);
  step(`Creating ${saleId}, with ${units} units …`);
  const created = await admin.create({
    saleId,
    name: 'Rehearsal',
    currency: 'EUR',
    endsAt: new Date(Date.now() + ENDS_AFTER_MS).toISOString(),
    holdSeconds: HOLD_SECONDS,
    skus: [{ sku: SKU, price: 100, stock: units }],
  });
  if (created.status === 201) return created;
  if (created.status >= 500) {
    throw new Fault('server_unfit', `the sale could not be created: ${problemIn(created)}`);
  }
  const isForbidden = created.status === 403;
  findings.fail(
    'sale',
    isForbidden ? 'the token may not create sales' : problemIn(created),
    isForbidden
      ? 'It is a token of a viewer or merchant. Set ADMIN_TOKENS=operator:<token> to one of an operator.'
      : 'The sale of the rehearsal could not be created. See the log of admin.',
  );
  return undefined;
}

/** By Redis' clock, as the first hot path shows it. */
async function scheduleStart({ admin, settings, saleId }: RehearsalContext): Promise<number> {
  const { body, tookMs } = await send(saleUrl(settings.hotPathUrls[0]!, saleId));
  const startsAtMs = Date.parse(body.serverTime) + Math.round(tookMs) + AHEAD_MS;
  const startsAt = new Date(startsAtMs).toISOString();
  const patched = await admin.send(`/sales/${saleId}`, { method: 'PATCH', body: { startsAt } });
  if (patched.status !== 200) {
    throw new Fault('server_unfit', `the start could not be set: ${problemIn(patched)}`);
  }
  await admin.open(saleId);
  return startsAtMs;
}

/** Every unit, once, and to the buyers who were told so. */
async function checkSold({ admin, findings, saleId, sold }: RehearsalContext, units: number) {
  const [counts] = (await admin.view(saleId)).skus;
  const { loaded, remaining, held, confirmed } = counts!;
  const counted = (held ?? 0) + (confirmed ?? 0);
  findings.expect(
    'exactly sold',
    loaded === units && remaining === 0 && counted === units && sold.size === units,
    `${sold.size} of ${units} units were sold to buyers; Redis counts ${counted} sold, ${remaining} left`,
    'Each unit must be sold once. If fewer were sold, buyers of the load got no response in time, see above. More must never happen: keep the logs, and report it.',
  );
}

async function removeSale(
  admin: AdminClient,
  saleId: string,
  findings: Findings,
  report: (line: string) => void,
): Promise<boolean> {
  report('\nRemoving the sale …');
  const reason = await admin.remove(saleId);
  findings.expect(
    'nothing left',
    reason === undefined,
    reason === undefined ? 'the sale is removed from both servers' : `${saleId}: ${reason}`,
    'Remove it when admin is available again: flash-sale rehearse --clean',
  );
  return reason === undefined;
}
