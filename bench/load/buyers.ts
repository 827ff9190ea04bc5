/** Buyers, each with its own token, as lines from which wrk.lua builds requests. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createSigner } from 'fast-jwt';

/** Every process under test verifies tokens with it. */
export const JWT_SECRET = 'a-secret-for-benches-of-more-than-32-bytes';
const TOKEN_LIVES_MS = 24 * 3_600_000;

export interface Buyers {
  /** `token TAB key`, one line per purchase. The first purchases of all buyers come before the second ones. */
  file: string;
  count: number;
  purchases: number;
}

/** `name` distinguishes the tokens of one set of buyers from those of the others. */
export async function writeBuyers(
  file: string,
  choices: { name: string; count: number; purchasesEach: number },
): Promise<Buyers> {
  const { name, count, purchasesEach } = choices;
  const sign = createSigner({ algorithm: 'HS256', key: JWT_SECRET, expiresIn: TOKEN_LIVES_MS });
  const tokens = Array.from({ length: count }, (_, index) => sign({ sub: buyerId(name, index) }));
  const keyBase = randomBytes(8).toString('hex');
  const lines: string[] = [];
  for (let purchase = 1; purchase <= purchasesEach; purchase++) {
    for (const token of tokens) lines.push(`${token}\t${keyBase}-${purchase}`);
  }
  await writeFile(file, `${lines.join('\n')}\n`);
  return { file, count, purchases: lines.length };
}

function buyerId(name: string, index: number): string {
  return `${name}-${String(index + 1).padStart(7, '0')}`;
}

export function tokenOf(buyer: string): string {
  return createSigner({ algorithm: 'HS256', key: JWT_SECRET, expiresIn: TOKEN_LIVES_MS })({
    sub: buyer,
  });
}
