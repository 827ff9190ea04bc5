/** The shop's own server: settings, the login, and the payment. */

export interface Settings {
  hotPathUrl: string;
  saleId: string;
}

export type Card = 'works' | 'refused';
export type Payment = 'confirmed' | 'refused' | 'refunded' | 'ended' | 'not_found' | 'unknown';

export async function readSettings(): Promise<Settings> {
  const response = await fetch('/settings');
  return (await response.json()) as Settings;
}

interface Token {
  token: string;
  buyerId: string;
  expiresInMs: number;
}

/** Keeps the token until it must be replaced. */
export class Account {
  #token: Promise<Token> | undefined;
  #replaceAt = 0;
  readonly #onChange: (buyerId: string) => void;

  constructor(onChange: (buyerId: string) => void) {
    this.#onChange = onChange;
  }

  async token(): Promise<string> {
    if (performance.now() >= this.#replaceAt) this.#token = undefined;
    this.#token ??= this.#request('GET', '/token');
    const { token } = await this.#token;
    return token;
  }

  async switchBuyer(): Promise<void> {
    this.#token = this.#request('POST', '/login');
    await this.#token;
  }

  async #request(method: string, path: string): Promise<Token> {
    try {
      this.#replaceAt = Number.POSITIVE_INFINITY;
      const response = await fetch(path, { method });
      if (!response.ok) throw new Error(`the login returned ${response.status}`);
      const token = (await response.json()) as Token;
      this.#replaceAt = performance.now() + token.expiresInMs;
      this.#onChange(token.buyerId);
      return token;
    } catch (error) {
      this.#replaceAt = 0;
      throw error;
    }
  }
}

/** Paying again after an unknown outcome is safe: the checkout charges a reservation once. */
export async function pay(reservationId: string, card: Card): Promise<Payment> {
  try {
    const response = await fetch('/pay', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ reservationId, card }),
    });
    if (!response.ok) return 'unknown';
    return ((await response.json()) as { outcome: Payment }).outcome;
  } catch {
    return 'unknown';
  }
}
