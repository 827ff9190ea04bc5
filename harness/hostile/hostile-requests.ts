/**
 * Hostile requests as bytes, generated from a seed: malformed input for parsers, ambiguous heads that proxies read
 * differently, and values that handlers may not expect. Each has a kind, by which results are counted.
 */
import fc from 'fast-check';

/** The valid parts that hostile requests are built from. */
export interface HostileTarget {
  /** Request lines of this server without the version, e.g. `GET /healthz`. */
  routes: readonly string[];
  /** Valid tokens. */
  tokens: readonly string[];
  /** Bodies that are valid for some operation. */
  bodies: readonly object[];
}

export interface HostileRequest {
  kind: string;
  bytes: string;
  /** Disconnects immediately, without waiting for a response. */
  leaves: boolean;
}

/** The same requests for the same seed. */
export function hostileRequests(
  target: HostileTarget,
  choices: { count: number; seed: number },
): HostileRequest[] {
  const kinds = Object.entries(kindsOf(target)).map(([kind, bytes]) =>
    bytes.map((text): HostileRequest => ({ kind, bytes: text, leaves: kind === 'cut off' })),
  );
  return fc.sample(fc.oneof(...kinds), { numRuns: choices.count, seed: choices.seed });
}

const AMBIGUOUS_LINES = [
  'Content-Length: 0\r\nContent-Length: 9',
  'Content-Length: 3\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding : chunked',
  'Content-Length: +3',
  'Content-Length: -3',
  'Content-Length: 0x3',
  'Content-Length: 3, 3',
  'Content-Length: 99999999999999999999',
  'Content-Length:',
  'X-A: b\r\n Content-Length: 3',
  'X-A: b\nContent-Length: 3',
  'X-A: b\rContent-Length: 3',
  'Content\0-Length: 3',
] as const;

const PATH_PIECES = [
  '..',
  '.',
  '%2e%2e',
  '%2f',
  '%00',
  '%ff',
  '%',
  '%zz',
  ';a=b',
  'v1',
  'admin',
  'sales',
  'reservations',
  'buy',
  'docs',
  'healthz',
  '__proto__',
  'constructor',
  '{saleId}',
  "'--",
] as const;

/** Latin-1: each character is a byte of the request. */
function bytesUpTo(maxLength: number): fc.Arbitrary<string> {
  return fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));
}

/** Replaces one part of an otherwise valid request. */
interface Parts {
  startLine?: string;
  lines?: readonly string[];
  body?: string;
}

function kindsOf({ routes, tokens, bodies }: HostileTarget): Record<string, fc.Arbitrary<string>> {
  const route = fc.constantFrom(...routes);
  const token = fc.constantFrom(...tokens);
  const body = fc.constantFrom(...bodies).map((value) => JSON.stringify(value));

  const request = (parts: fc.Arbitrary<Parts>): fc.Arbitrary<string> =>
    fc
      .tuple(route, token, parts)
      .map(([requestLine, bearer, { startLine, lines = [], body: sent }]) =>
        [
          startLine ?? `${requestLine} HTTP/1.1`,
          'Host: x',
          `Authorization: Bearer ${bearer}`,
          ...(sent === undefined
            ? []
            : [
                'Content-Type: application/json',
                `Content-Length: ${Buffer.byteLength(sent, 'latin1')}`,
              ]),
          ...lines,
          `\r\n${sent ?? ''}`,
        ].join('\r\n'),
      );
  const whole = request(
    fc.oneof(
      fc.constant({}),
      body.map((sent) => ({ body: sent })),
    ),
  );

  return {
    'well-formed': whole,
    'random bytes': bytesUpTo(2_000),
    'a broken start line': request(
      fc
        .tuple(bytesUpTo(30), bytesUpTo(200), bytesUpTo(10))
        .map((parts) => ({ startLine: parts.join(' ') })),
    ),
    'an odd method': request(
      fc
        .tuple(
          fc.oneof(
            fc.constantFrom('TRACE', 'CONNECT', 'PUT', 'OPTIONS', 'HEAD', 'get', 'X'.repeat(500)),
            bytesUpTo(10),
          ),
          route,
        )
        .map(([method, requestLine]) => ({
          startLine: `${method} ${requestLine.split(' ')[1]} HTTP/1.1`,
        })),
    ),
    'an odd version': request(
      fc
        .tuple(route, fc.constantFrom('HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9', 'ICY', ''))
        .map(([requestLine, version]) => ({ startLine: `${requestLine} ${version}` })),
    ),
    'a tricky path': request(
      fc
        .tuple(
          fc.constantFrom('GET', 'POST', 'DELETE', 'PATCH'),
          fc.array(fc.oneof(fc.constantFrom(...PATH_PIECES), bytesUpTo(20)), { maxLength: 12 }),
        )
        .map(([method, pieces]) => ({ startLine: `${method} /${pieces.join('/')} HTTP/1.1` })),
    ),
    'a tricky query': request(
      fc
        .tuple(
          route,
          fc.array(
            fc.tuple(fc.constantFrom('limit', 'cursor', 'saleId', 'from', 'x'), bytesUpTo(40)),
          ),
        )
        .map(([requestLine, fields]) => ({
          startLine: `${requestLine}?${fields.map(([name, value]) => `${name}=${encodeURI(value)}`).join('&')} HTTP/1.1`,
        })),
    ),
    'a flood of headers': request(
      fc
        .tuple(fc.integer({ min: 1, max: 400 }), bytesUpTo(200))
        .map(([count, value]) => ({ lines: Array(count).fill(`X-A: ${value}`) })),
    ),
    'a broken header': request(bytesUpTo(100).map((line) => ({ lines: [line] }))),
    'odd values of headers we read': request(
      fc
        .tuple(
          fc.constantFrom(
            'Idempotency-Key',
            'X-Request-Id',
            'traceparent',
            'X-Forwarded-For',
            'X-Buyer-Id',
            'Content-Type',
            'Authorization',
            'Cookie',
            'X-CSRF-Token',
            'Expect',
            'Connection',
          ),
          bytesUpTo(300),
        )
        .map(([name, value]) => ({ lines: [`${name}: ${value}`] })),
    ),
    'two lengths, or none': request(
      fc
        .tuple(fc.constantFrom(...AMBIGUOUS_LINES), bytesUpTo(50))
        .map(([lines, rest]) => ({ lines: [lines, `\r\n${rest}0\r\n\r\nGET /hidden HTTP/1.1`] })),
    ),
    'broken chunks': request(
      fc
        .array(fc.tuple(fc.constantFrom('0', '1', '5', 'ffff', '-1', 'zz', ''), bytesUpTo(60)))
        .map((chunks) => ({
          lines: [
            'Transfer-Encoding: chunked',
            `\r\n${chunks.map(([size, data]) => `${size}\r\n${data}\r\n`).join('')}`,
          ],
        })),
    ),
    'a huge body': request(
      fc
        .tuple(fc.integer({ min: 4_097, max: 2 ** 31 - 1 }), fc.integer({ min: 0, max: 100_000 }))
        .map(([declared, sent]) => ({
          lines: [`Content-Length: ${declared}`, `\r\n${'x'.repeat(Math.min(declared, sent))}`],
        })),
    ),
    'hostile JSON': request(
      fc
        .oneof(
          fc.json(),
          fc.json().map((text) => text.slice(0, -1)),
          bytesUpTo(200),
          fc.integer({ min: 1, max: 2_000 }).map((depth) => '['.repeat(depth)),
          fc.integer({ min: 1, max: 600 }).map((depth) => '{"items":['.repeat(depth)),
          fc.constantFrom('{"__proto__":{"admin":true}}', '{"sku":"x","quantity":1e999}', '-0'),
          fc.tuple(body, fc.nat(), fc.string({ maxLength: 4 })).map(([text, at, other]) => {
            const from = at % text.length;
            return Buffer.from(text.slice(0, from) + other + text.slice(from + 1)).toString(
              'latin1',
            );
          }),
        )
        .map((sent) => ({ body: sent })),
    ),
    'a forged token': fc
      .tuple(route, token, fc.nat(), bytesUpTo(20), fc.boolean())
      .map(([requestLine, right, at, other, replaces]) => {
        const from = at % right.length;
        const forged = replaces
          ? right.slice(0, from) + other + right.slice(from + other.length)
          : right.slice(0, from);
        return `${requestLine} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${forged}\r\n\r\n`;
      }),
    'cut off': fc.tuple(whole, fc.nat()).map(([text, at]) => text.slice(0, at % text.length)),
    'many in a row': fc
      .array(fc.oneof(whole, bytesUpTo(50)), { minLength: 2, maxLength: 20 })
      .map((texts) => texts.join('')),
    'a WebSocket of garbage': request(
      fc.tuple(route, bytesUpTo(30), bytesUpTo(500)).map(([requestLine, key, frames]) => ({
        startLine: `GET ${requestLine.split(' ')[1]!.replace(/\/(buy|me)$/, '/live')} HTTP/1.1`,
        lines: [
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          `Sec-WebSocket-Key: ${key.length % 2 === 0 ? 'dGhlIHNhbXBsZSBub25jZQ==' : key}`,
          `\r\n${frames}`,
        ],
      })),
    ),
  };
}
