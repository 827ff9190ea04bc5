/** What every part of a rehearsal uses. */
import { Fault } from '../domain/fault.ts';
import type { AdminClient } from './admin-client.ts';
import type { Findings } from './findings.ts';
import { problemIn, type Reply } from './http.ts';
import type { Settings } from './settings.ts';

export interface RehearsalContext {
  settings: Settings;
  admin: AdminClient;
  findings: Findings;
  saleId: string;
  /** The reservations that buyers were told of. */
  sold: Set<string>;
  /** Ctrl-C. */
  stopping: AbortSignal;
  /** Shows what is being done. */
  step: (line: string) => void;
}

/** The only SKU. */
export const SKU = 'unit';

export function buyUrl(hotPathUrl: string, saleId: string): string {
  return `${hotPathUrl}/v1/sales/${saleId}/buy`;
}

export function saleUrl(hotPathUrl: string, saleId: string): string {
  return `${hotPathUrl}/v1/sales/${saleId}`;
}

export const BEFORE_HOT_PATHS =
  'Without this nobody can buy. Check the address, the load balancer and the log of the hot path.';

const REASONS: Readonly<Record<number, string>> = {
  401: 'The hot path does not accept the tokens of this rehearsal: JWT_SECRET, JWT_ISSUER or JWT_AUDIENCE is another one there, or the tokens of the file have expired.',
  404: 'The hot path does not sell to these buyers. Buyers of a rehearsal must have ids that begin with rehearsal-.',
  429: 'A limit by address or by buyer refuses the requests of this machine: see ADDRESS_REQUESTS_PER_SECOND and TRUSTED_PROXIES.',
};

/** A hot path refused a buyer whom it must serve. */
export function refusalBy(url: string, reply: Reply): Fault {
  const reason = REASONS[reply.status] ?? 'Buyers of the rehearsal are refused.';
  return new Fault('server_unfit', `${reason} ${url} returned ${problemIn(reply)}`);
}
