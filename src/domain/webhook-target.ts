/**
 * Allowed targets of webhooks: outside development only public addresses, only by TLS. Otherwise a registered endpoint
 * could reach servers that only this network reaches (server-side request forgery). The URL is checked when it is
 * registered, and the address at each connection, because a name may resolve to another one by then.
 */
import ipaddr from 'ipaddr.js';

export interface TargetRules {
  /** In development, receivers run on this machine and without TLS. */
  isDevelopment: boolean;
}

/** Why a URL is not allowed, in words that follow the field's name; undefined: it is allowed. */
export function complaintAboutUrl(url: string, rules: TargetRules): string | undefined {
  if (!URL.canParse(url)) return 'must be a URL';
  const { protocol, username, password, hash } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:') return 'must begin with https://';
  if (username !== '' || password !== '') return 'must not contain credentials';
  if (hash !== '') return 'must not contain a fragment';
  if (rules.isDevelopment) return undefined;
  if (protocol !== 'https:') return 'must begin with https:// outside development';
  const literal = literalAddress(url);
  const isForbidden = literal !== undefined && !isPublicAddress(literal);
  return isForbidden ? 'must lead to a public address' : undefined;
}

/** The address in a URL without a name to resolve. URL has normalized all spellings: `http://0x7f.1/` is 127.0.0.1. */
export function literalAddress(url: string): string | undefined {
  const host = new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
  return ipaddr.isValid(host) ? host : undefined;
}

/** Whether an address is in the public internet, by a list of allowed ranges: a list of forbidden ones would have gaps. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  // All allocated IPv6 addresses are in 2000::/3.
  return parsed.kind() === 'ipv4' || /^[23]/.test(parsed.toNormalizedString());
}
