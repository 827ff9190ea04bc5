/**
 * The load generator: wrk, a C program that saturates a server with one of its own cores. Its answers are counted by
 * wrk itself; whether they were the right ones is for the scenario to check.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const SCRIPT = join(import.meta.dirname, 'wrk.lua');
const TICKS_PER_SECOND = 100;
const OUTPUT_BYTES_MAX = 1_000_000;

export interface Press {
  port: number;
  /** A whole HTTP request with {token} and {key} in it; of several each line of the file takes the next. */
  template: string | readonly string[];
  /** Of `token TAB key` lines, see buyers.ts. */
  file: string;
  seconds: number;
  connections: number;
  /** 1 unless the file is short: the second thread would still be reading it while the first presses. */
  threads?: number;
  /** Whether the file may be gone through more than once; otherwise a load that needs more of it fails. */
  repeats: boolean;
  firstLine?: number;
  /** Requests a second, sent when they are due; without it each connection sends as soon as it was answered. */
  perSecond?: number;
  /** A list of cores as `taskset` takes it. */
  cores: string | undefined;
  /** Before all who share its cores, as far as this user may: it is to see answers when they come, not when it is let. */
  isUrgent?: boolean;
  stopping: AbortSignal;
}

export interface Pressed {
  requests: number;
  seconds: number;
  perSecond: number;
  /** Answered with a status of 400 or more. */
  refused: number;
  /** Began at `firstLine` and came so far. */
  sent: number;
  /** On average, headers too. */
  bytesPerRequest: number;
  /** Of a whole answer, headers too. */
  bytesPerResponse: number;
  /** Of this program, while it pressed. */
  wrkCpuSeconds: number;
  /** `[percent, milliseconds]`, as wrk corrects them for requests that it could not send in time. */
  latencyMs: [number, number][];
}

interface Printed {
  requests: number;
  durationUs: number;
  bytes: number;
  refused: number;
  broken: number;
  sent: number;
  exhausted: boolean;
  cpuTicks: number;
  requestBytes: number;
  latencyUs: [number, number][];
}

/** Throws when a connection broke, a request was not answered in time, or the prepared requests did not last. */
export async function press(choices: Press): Promise<Pressed> {
  const {
    port,
    template,
    file,
    seconds,
    connections,
    repeats,
    firstLine = 1,
    threads = 1,
    perSecond = 0,
    isUrgent = false,
    cores,
  } = choices;
  const wrk = [
    'wrk',
    `-t${threads}`,
    `-c${connections}`,
    `-d${seconds}s`,
    '--timeout',
    '10s',
    '-s',
    SCRIPT,
  ];
  const url = `http://127.0.0.1:${port}`;
  const templates = typeof template === 'string' ? template : template.join('\f');
  const args = [file, String(firstLine), repeats ? 'again' : 'once', templates, `${perSecond}`];
  const all = [
    ...(isUrgent ? ['nice', '-n-15'] : []),
    ...(cores === undefined ? [] : ['taskset', '-c', cores]),
    ...wrk,
    url,
    '--',
    ...args,
  ];
  const { stdout } = await execute(all[0]!, all.slice(1), {
    signal: choices.stopping,
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  const printed = JSON.parse(stdout.trim().split('\n').at(-1)!) as Printed;
  if (printed.exhausted) {
    throw new Error(`wrk needed more than the ${printed.sent} requests that were prepared`);
  }
  if (printed.broken > 0) throw new Error(`${printed.broken} requests of wrk broke or timed out`);
  const ran = printed.durationUs / 1e6;
  return {
    requests: printed.requests,
    seconds: ran,
    perSecond: printed.requests / ran,
    refused: printed.refused,
    sent: printed.sent,
    bytesPerRequest: printed.requestBytes,
    bytesPerResponse: printed.bytes / printed.requests,
    wrkCpuSeconds: printed.cpuTicks / TICKS_PER_SECOND,
    latencyMs: printed.latencyUs.map(([percent, us]) => [percent, us / 1e3]),
  };
}

/** Of the latency curve, ms. */
export function percentile({ latencyMs }: Pressed, percent: number): number {
  const found = latencyMs.find(([at]) => at === percent);
  if (!found) throw new Error(`wrk.lua does not tell the ${percent}th percentile`);
  return found[1];
}

/** What a buyer sends who wants one. */
export function buyTemplate(saleId: string, sku = 'unit'): string {
  const body = JSON.stringify({ sku, quantity: 1 });
  return [
    `POST /v1/sales/${saleId}/buy HTTP/1.1`,
    'Host: 127.0.0.1',
    'Authorization: Bearer {token}',
    'Idempotency-Key: {key}',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    '',
    body,
  ].join('\r\n');
}

/** What the page of a sale asks for a buyer before the sale: it costs the token's verification. */
export function viewTemplate(saleId: string): string {
  return [
    `GET /v1/sales/${saleId}/me HTTP/1.1`,
    'Host: 127.0.0.1',
    'Authorization: Bearer {token}',
    'Idempotency-Key: {key}',
    '',
    '',
  ].join('\r\n');
}
