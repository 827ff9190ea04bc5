/** A hot path, an admin and a persister as child processes, to attack the first two and observe them. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type EngineProcess, useEngineProcess } from '../engine/engine-process.ts';
import { JWT_SECRET, tokenOf } from '../engine/hot-path.ts';
import { metric } from '../engine/metrics.ts';
import { sharedCode } from '../engine/shared-code.ts';
import type { Scope } from '../use.ts';
import { attack, faultsIn, type HostileTally } from './hostile-crowd.ts';
import type { HostileTarget } from './hostile-requests.ts';

const PRELOAD = pathToFileURL(join(import.meta.dirname, 'collect-garbage-on-signal.mjs')).href;
const OPERATOR_TOKEN = 'operator-token-for-hostile-requests';
/** Two sales, so that operators' requests to one do not end the other. */
const SOLD = 'attacked';
const CHANGED = 'changed-by-attackers';
const BUYERS = 50;
const SETTLE_MS = 300;
const SETTLE_ROUNDS_MAX = 30;
/** A heap has settled when one more collection frees no more than this. */
const SETTLED_MIB = 0.5;
const CONNECTIONS = 100;
/** The heap may differ by this much between two measurements without a leak. */
const HEAP_GROWTH_MIB_MAX = 8;

export interface Attacked {
  memory: { before: Memory; after: Memory };
  hasGrown: boolean;
  /** Responses that no request may cause. */
  faults: string[];
  statuses: HostileTally;
}

export interface Memory {
  heapMiB: number;
  residentMiB: number;
}

export function useHostileEngine(
  ...choices: Parameters<typeof HostileEngine.use>
): Promise<HostileEngine> {
  return HostileEngine.use(...choices);
}

export class HostileEngine {
  readonly hotPath: EngineProcess;
  readonly admin: EngineProcess;
  readonly #hotPathTarget: HostileTarget;
  readonly #adminTarget: HostileTarget;
  /** A reservation of the buyer of `buyerToken`. */
  #reservationId = '';

  static async use(
    scope: Scope,
    servers: { redisUrl: string; postgresUrl: string },
    settings: Record<string, string> = {},
  ): Promise<HostileEngine> {
    const environment = {
      REDIS_URL: servers.redisUrl,
      DATABASE_URL: servers.postgresUrl,
      JWT_SECRET,
      ADMIN_TOKENS: `operator:${OPERATOR_TOKEN}`,
      NODE_OPTIONS: [sharedCode().NODE_OPTIONS ?? '', `--import=${PRELOAD}`].join(' '),
      // Faults are logged; refusals are not.
      LOG_LEVEL: 'error',
      ...settings,
    };
    const processes = await Promise.all(
      (['hot-path', 'admin', 'persister'] as const).map((name) =>
        useEngineProcess(scope, name, environment),
      ),
    );
    const [hotPath, admin] = await Promise.all(processes.map((engine) => engine.untilReady()));
    const engine = new HostileEngine(hotPath!, admin!);
    for (const saleId of [SOLD, CHANGED]) await engine.#openSale(saleId);
    engine.#reservationId = (await engine.#buy('buyer')).reservationId;
    return engine;
  }

  private constructor(hotPath: EngineProcess, admin: EngineProcess) {
    this.hotPath = hotPath;
    this.admin = admin;
    this.#hotPathTarget = {
      routes: [
        `POST /v1/sales/${SOLD}/buy`,
        `GET /v1/sales/${SOLD}`,
        `GET /v1/sales/${SOLD}/me`,
        `GET /v1/sales/${SOLD}/live`,
        `POST /v1/sales/${SOLD}/waitlist`,
        `DELETE /v1/sales/${SOLD}/waitlist`,
        `GET /v1/reservations/${SOLD}_1_aaaaaaaa`,
        `POST /v1/reservations/${SOLD}_1_aaaaaaaa/cancel`,
        'GET /v1/sales/never-heard-of',
        'GET /healthz',
        'GET /metrics',
      ],
      tokens: Array.from({ length: BUYERS }, (_, index) => tokenOf(`attacker-${index}`)),
      bodies: [{ sku: 'phone', quantity: 1 }, { items: [{ sku: 'phone', quantity: 1 }] }, {}],
    };
    const changed = `/admin/v1/sales/${CHANGED}`;
    this.#adminTarget = {
      routes: [
        'GET /admin/v1/sales',
        'POST /admin/v1/sales',
        `GET ${changed}`,
        `PATCH ${changed}`,
        `DELETE ${changed}`,
        `POST ${changed}/stock`,
        `POST ${changed}/pause`,
        `POST ${changed}/resume`,
        `GET ${changed}/audit`,
        'GET /admin/v1/reservations',
        'GET /admin/v1/reservations.csv',
        `GET /admin/v1/reservations/${SOLD}_1_aaaaaaaa`,
        `POST /admin/v1/reservations/${SOLD}_1_aaaaaaaa/confirm`,
        'GET /admin/v1/dead-letters',
        'POST /admin/v1/dead-letters/1/retry',
        'POST /admin/v1/dead-letters/1/discard',
        'GET /admin/v1/webhooks',
        'POST /admin/v1/webhooks/none/resume',
        'POST /admin/v1/webhooks/none/rotate-secret',
        'POST /admin/v1/sign-in-links',
        'POST /session',
        'GET /session',
        'DELETE /session',
        'GET /',
        'GET /assets/main.js',
        'GET /openapi.json',
        'GET /docs/static/index.html',
        'GET /healthz',
      ],
      tokens: [OPERATOR_TOKEN],
      bodies: [
        { sku: 'phone', delta: 1, reason: 'hostile' },
        { name: 'Hostile' },
        { paymentRef: 'pay_1' },
        { token: OPERATOR_TOKEN },
        { name: 'Hostile', currency: 'EUR', skus: [{ sku: 'phone', price: 1, stock: 1 }] },
      ],
    };
  }

  get operatorToken(): string {
    return OPERATOR_TOKEN;
  }

  get buyerToken(): string {
    return tokenOf('buyer');
  }

  /** Values of a path parameter that exist. */
  idsOf(parameter: string): string[] {
    switch (parameter) {
      case 'saleId':
        return [SOLD, CHANGED];
      case 'reservationId':
        return [this.#reservationId, `${SOLD}_1_aaaaaaaa`];
      default:
        return ['1'];
    }
  }

  /** Everything that either process has logged. uWebSockets.js warns about late upgrades, which is not a fault. */
  get errors(): string[] {
    return [this.hotPath, this.admin]
      .flatMap(({ output }) => output.split('\n'))
      .filter((line) => line !== '' && !line.startsWith('Warning: uWS.HttpResponse writes'));
  }

  /** A purchase succeeds, and every check of `verify` passes. */
  async promisesHold(): Promise<boolean> {
    const { status } = await this.#buy('honest');
    const verified = await this.#call('GET', `/sales/${SOLD}/verify`);
    const { ok } = (await verified.json()) as { ok: boolean };
    return (status === 201 || status === 200) && ok;
  }

  async #buy(buyer: string): Promise<{ status: number; reservationId: string }> {
    const response = await fetch(`${this.hotPath.url}/v1/sales/${SOLD}/buy`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf(buyer)}` },
    });
    const { reservationId } = (await response.json()) as { reservationId: string };
    return { status: response.status, reservationId };
  }

  /** Sends `warmUp` requests to fill caches, measures memory, sends `count` requests, and measures again. */
  async attack(
    name: 'hotPath' | 'admin',
    choices: { count: number; warmUp: number; seed: number },
    onProgress: (over: number) => void = () => undefined,
  ): Promise<Attacked> {
    const { count, warmUp, seed } = choices;
    const connections = CONNECTIONS;
    const victim = this[name];
    const target = name === 'hotPath' ? this.#hotPathTarget : this.#adminTarget;
    await attack(victim.port, target, { count: warmUp, seed: seed + 1e6, connections }, onProgress);
    const before = await this.#memoryOf(victim);
    const statuses = await attack(victim.port, target, { count, seed, connections }, (over) =>
      onProgress(warmUp + over),
    );
    const after = await this.#memoryOf(victim);
    return {
      memory: { before, after },
      hasGrown: after.heapMiB - before.heapMiB > HEAP_GROWTH_MIB_MAX,
      faults: faultsIn(statuses),
      statuses,
    };
  }

  /** Collects garbage until the heap has settled, because requests may still be ending. */
  async #memoryOf(engine: EngineProcess): Promise<Memory> {
    let last = Number.POSITIVE_INFINITY;
    for (let round = 0; ; round++) {
      engine.child.kill('SIGUSR2');
      await sleep(SETTLE_MS);
      const heapMiB = mebibytes(await metric(engine, 'nodejs_heap_size_used_bytes'));
      const isSettled = round > 1 && last - heapMiB < SETTLED_MIB;
      if (isSettled || round === SETTLE_ROUNDS_MAX) {
        const residentMiB = mebibytes(await metric(engine, 'process_resident_memory_bytes'));
        return { heapMiB, residentMiB };
      }
      last = heapMiB;
    }
  }

  async #openSale(saleId: string): Promise<void> {
    const skus = [{ sku: 'phone', price: 1_000, stock: 1_000_000 }];
    const sale = { saleId, name: saleId, currency: 'EUR', perBuyerLimit: 1_000, skus };
    await this.#call('POST', '/sales', sale);
    await this.#call('POST', `/sales/${saleId}/open`);
  }

  async #call(method: string, path: string, body?: object): Promise<Response> {
    const response = await fetch(`${this.admin.url}/admin/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${OPERATOR_TOKEN}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
    return response;
  }
}

function mebibytes(bytes: number): number {
  return Number((bytes / 2 ** 20).toFixed(1));
}
