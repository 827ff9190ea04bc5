/**
 * Where webhooks may go. Outside development only to public addresses and only by TLS: whoever may register an
 * endpoint must not thereby reach what only this network reaches (server-side request forgery). The URL is judged when
 * it is registered; the address is judged again at each connection, because a name may lead elsewhere by then.
 */
import ipaddr from 'ipaddr.js';

export interface TargetRules {
  /** Development: receivers on this machine, without TLS, are what one develops with. */
  isDevelopment: boolean;
}

/** What is wrong with a URL as a target, in words that follow its name; undefined: nothing. */
export function complaintAboutUrl(url: string, rules: TargetRules): string | undefined {
  if (!URL.canParse(url)) return 'is not a URL';
  const { protocol, username, password, hash } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:') return 'wants https://';
  if (username !== '' || password !== '') return 'must not contain credentials';
  if (hash !== '') return 'must not contain a fragment';
  if (rules.isDevelopment) return undefined;
  if (protocol !== 'https:') return 'wants https:// outside development';
  const literal = literalAddress(url);
  const isForbidden = literal !== undefined && !isPublicAddress(literal);
  return isForbidden ? 'must lead to a public address' : undefined;
}

/**
 * The address that a URL names by itself, without a name to look up. URL has made one form of all spellings by then:
 * `http://0x7f.1/` is 127.0.0.1.
 */
export function literalAddress(url: string): string | undefined {
  const host = new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
  return ipaddr.isValid(host) ? host : undefined;
}

/** Whether an address is one of the public internet: a list of what is, because any list of what is not has gaps. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  // All IPv6 that was ever given out is in 2000::/3.
  return parsed.kind() === 'ipv4' || /^[23]/.test(parsed.toNormalizedString());
}
