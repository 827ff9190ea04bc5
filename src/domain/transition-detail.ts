/**
 * Who caused a transition and why: the free text of an event. It is JSON for a merchant's transition and plain words
 * otherwise. It is part of the decision's event, so it needs no second write.
 */

export interface TransitionDetail {
  /** The role, and the first characters of the digest of the request's token. */
  actor: string;
  /** The payment that a confirmation refers to. */
  paymentRef?: string | undefined;
  reason?: string | undefined;
}

export function writeDetail({ actor, paymentRef, reason }: TransitionDetail): string {
  return JSON.stringify({ actor, paymentRef, reason });
}

/** The detail of an event as the API shows it: a merchant's fields, or plain words. */
export interface ShownDetail {
  actor: string | null;
  paymentRef: string | null;
  reason: string | null;
  /** Empty if the fields above are set. */
  detail: string;
}

export function readDetail(text: string): ShownDetail {
  try {
    const fields = JSON.parse(text.startsWith('{') ? text : '{}') as Partial<TransitionDetail>;
    const { actor, paymentRef = null, reason = null } = fields;
    if (typeof actor === 'string') return { actor, paymentRef, reason, detail: '' };
  } catch {
    // Plain words that begin like JSON.
  }
  return { actor: null, paymentRef: null, reason: null, detail: text };
}
