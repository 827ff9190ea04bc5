/** `flash-sale token`: signs a buyer's token for experiments and load tests. In production the shop signs tokens. */
import { createSigner } from 'fast-jwt';
import { readTokenConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../domain/identifiers.ts';
import { durationMs } from './duration.ts';

/** @throws Fault config_invalid if the buyer id, the duration or the secret is invalid. */
export function buyerToken(
  buyerId: string,
  options: { expiresIn: string; env: NodeJS.ProcessEnv },
): string {
  if (!VISIBLE_ASCII_64.test(buyerId)) {
    throw new Fault('config_invalid', 'The buyer id must be 1 to 64 visible ASCII characters.');
  }
  const expiresIn = durationMs(options.expiresIn);
  const { JWT_SECRET: key, JWT_ISSUER: iss, JWT_AUDIENCE: aud } = readTokenConfig(options.env);
  const sign = createSigner({
    algorithm: 'HS256',
    key,
    expiresIn,
    ...(iss ? { iss } : {}),
    ...(aud ? { aud } : {}),
  });
  return sign({ sub: buyerId });
}
