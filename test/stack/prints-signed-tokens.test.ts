/** `flash-sale token` prints a token for a buyer, with an expiry, signed with the configured secret. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVerifier } from 'fast-jwt';
import { buyerToken } from '../../src/cli/token.ts';
import { Fault } from '../../src/domain/fault.ts';

const env = { JWT_SECRET: '0123456789abcdef0123456789abcdef' };

void test('the token has the buyer, the expiry and a valid signature', () => {
  const verify = createVerifier({ key: env.JWT_SECRET, algorithms: ['HS256'] });
  const durations: [string, number][] = [
    ['90s', 90],
    ['15m', 900],
    ['1h', 3_600],
    ['7d', 604_800],
  ];
  for (const [expiresIn, seconds] of durations) {
    const claims = verify(buyerToken('ada', { expiresIn, env })) as Record<string, number>;
    assert.equal(claims.sub, 'ada');
    assert.equal(claims.exp! - claims.iat!, seconds);
  }
});

void test('invalid arguments are rejected with the reason', () => {
  const refuses = (
    buyer: string,
    expiresIn: string,
    environment: NodeJS.ProcessEnv,
    says: RegExp,
  ) =>
    assert.throws(
      () => buyerToken(buyer, { expiresIn, env: environment }),
      (error) =>
        error instanceof Fault && error.code === 'config_invalid' && says.test(error.message),
    );
  refuses('', '1h', env, /buyer id/);
  refuses('with space', '1h', env, /buyer id/);
  refuses('x'.repeat(65), '1h', env, /buyer id/);
  for (const duration of ['', '0h', '1', 'h', '-1h', '1y'])
    refuses('ada', duration, env, /duration/);
  refuses('ada', '1h', {}, /JWT_SECRET/);
  refuses('ada', '1h', { JWT_SECRET: 'short' }, /JWT_SECRET/);
});
