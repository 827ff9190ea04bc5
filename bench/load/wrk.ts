/**
 * The load generator: wrk, a C program that can saturate a server from one core. wrk counts the responses; each
 * scenario checks that they are the right ones.
 */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const SCRIPT = join(import.meta.dirname, 'wrk.lua');
const TICKS_PER_SECOND = 100;
const OUTPUT_BYTES_MAX = 1_000_000;

export interface WrkLoad {
  port: number;
  /** A whole HTTP request with {token} and {key}. Lines of the file take several templates in turn. */
  template: string | readonly string[];
  /** Lines of `token TAB key`, see buyers.ts. */
  file: string;
  seconds: number;
  connections: number;
  /** More than 1 only for a short file: the second thread would still read it while the first sends. */
  threads?: number;
  /** Whether the load may start the file again at its end. Otherwise the load fails there. */
  repeats: boolean;
  /** The template asks the server to close the connection, so wrk opens a new one for each request. */
  closes?: boolean;
  firstLine?: number;
  /** Requests per second at a fixed rate. Without it each connection sends as soon as it has its response. */
  perSecond?: number;
  /** Cores, in `taskset` syntax. */
  cores: string | undefined;
  /**
   * Scheduled before other processes on its cores, so that it sees responses when they arrive: by a real-time class
   * where the user may (root), otherwise by a high priority, which still waits for some milliseconds.
   */
  isUrgent?: boolean;
  stopping: AbortSignal;
}

export interface WrkResult {
  requests: number;
  seconds: number;
  perSecond: number;
  /** Responses with a status of 400 or more. */
  refused: number;
  /** Lines used, from `firstLine` on. */
  sent: number;
  /** The mean, with headers. */
  bytesPerRequest: number;
  /** The mean, with headers. */
  bytesPerResponse: number;
  /** Of wrk itself during the load. */
  wrkCpuSeconds: number;
  /** `[percent, milliseconds]`, corrected by wrk for requests that it sent late. */
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

/** Throws if a connection broke, a request timed out, or the file was too short. */
export async function runWrk(choices: WrkLoad): Promise<WrkResult> {
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
    closes = false,
    cores,
  } = choices;
  const command = [
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
    ...(isUrgent ? urgently() : []),
    ...(cores === undefined ? [] : ['taskset', '-c', cores]),
    ...command,
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
  // wrk counts a close after the response as a broken connection.
  const broken = closes ? printed.broken - printed.requests : printed.broken;
  if (broken > (closes ? connections : 0))
    throw new Error(`${broken} requests of wrk broke or timed out`);
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

/** In ms. */
export function percentile({ latencyMs }: WrkResult, percent: number): number {
  const found = latencyMs.find(([at]) => at === percent);
  if (!found) throw new Error(`wrk.lua does not print the ${percent}th percentile`);
  return found[1];
}

/** A purchase of one unit. */
export function buyTemplate(saleId: string, sku = 'unit', headers: readonly string[] = []): string {
  const body = JSON.stringify({ sku, quantity: 1 });
  return [
    `POST /v1/sales/${saleId}/buy HTTP/1.1`,
    'Host: 127.0.0.1',
    'Authorization: Bearer {token}',
    'Idempotency-Key: {key}',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    ...headers,
    '',
    body,
  ].join('\r\n');
}

/** The request of a sale's page before the sale. It makes the hot path verify the token. */
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

let urgent: readonly string[] | undefined;
/** The command in front of an urgent one. */
function urgently(): readonly string[] {
  const isAllowed = () => spawnSync('chrt', ['--fifo', '1', 'true']).status === 0;
  urgent ??= isAllowed() ? ['chrt', '--fifo', '1'] : ['nice', '-n-15'];
  return urgent;
}
