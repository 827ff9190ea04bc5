/**
 * What history keeps of who moved a reservation and why: the event's one free text, which is JSON where a merchant
 * was it, and a few words where nobody was. It travels with the decision, so that it needs no second write.
 */

export interface TransitionDetail {
  /** The role and the beginning of the digest of the token that asked. */
  actor: string;
  /** The payment that a confirmation stands on. */
  paymentRef?: string | undefined;
  reason?: string | undefined;
}

export function writeDetail({ actor, paymentRef, reason }: TransitionDetail): string {
  return JSON.stringify({ actor, paymentRef, reason });
}

/** What an event says beside its state: a merchant's fields, or else words. */
export interface ShownDetail {
  actor: string | null;
  paymentRef: string | null;
  reason: string | null;
  /** Empty where the fields above say it. */
  detail: string;
}

export function readDetail(text: string): ShownDetail {
  const fields = fieldsOf(text);
  if (!fields) return { actor: null, paymentRef: null, reason: null, detail: text };
  const { actor, paymentRef = null, reason = null } = fields;
  return { actor, paymentRef, reason, detail: '' };
}

/** Undefined: it is words. */
function fieldsOf(text: string): TransitionDetail | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const fields = JSON.parse(text) as Partial<TransitionDetail>;
    return typeof fields.actor === 'string' ? { ...fields, actor: fields.actor } : undefined;
  } catch {
    return undefined;
  }
}
