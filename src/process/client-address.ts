/**
 * The network that counts as one client. Behind trusted proxies it is the rightmost address in `X-Forwarded-For` that is
 * not a trusted proxy. Clients can forge the addresses to the left of it.
 */
import ipaddr from 'ipaddr.js';

type Address = ReturnType<typeof ipaddr.process>;

/** The client of a connection that has closed before its address was read. */
const GONE = '';

/**
 * `peer` is the other end of the connection, as text or as bytes, and empty once the connection is closed. `forwardedFor` is the header, several of them joined by
 * commas: some proxies append their own header after the one of the client.
 */
export type ClientAddress = (peer: string | Uint8Array, forwardedFor: () => string) => string;

/** `trustedProxies` are addresses and CIDR ranges. */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  const isTrusted = trustOf(trustedProxies);
  return (peer, forwardedFor) => {
    if (peer.length === 0) return GONE;
    let address = addressOf(peer);
    if (!isTrusted(address)) return networkOf(address);
    const hops = forwardedFor().split(',');
    while (isTrusted(address) && hops.length > 0) {
      const hop = withoutPort(hops.pop()!.trim());
      if (!ipaddr.isValid(hop)) break;
      address = ipaddr.process(hop);
    }
    return networkOf(address);
  };
}

/** Whether the other end of a connection is a trusted proxy, whose headers about the client can be believed. */
export function createProxyTrust(trustedProxies: readonly string[]): (peer: string) => boolean {
  const isTrusted = trustOf(trustedProxies);
  return (peer) => isTrusted(addressOf(peer));
}

function trustOf(trustedProxies: readonly string[]): (address: Address) => boolean {
  const ranges = trustedProxies.map((range) =>
    range.includes('/') ? ipaddr.parseCIDR(range) : hostRange(range),
  );
  return (address) =>
    ranges.some((range) => range[0].kind() === address.kind() && address.match(range));
}

/** Some balancers append the client's port: `203.0.113.7:51001`, `[2001:db8::7]:51001`. */
function withoutPort(hop: string): string {
  const [, inBrackets, ipv4] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?$/.exec(hop) ?? [];
  return inBrackets ?? ipv4 ?? hop;
}

function addressOf(peer: string | Uint8Array): Address {
  return ipaddr.process(
    typeof peer === 'string' ? peer : ipaddr.fromByteArray([...peer]).toString(),
  );
}

function hostRange(text: string): [Address, number] {
  const address = ipaddr.process(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

/** An IPv6 client can use any address of its /64, so the /64 counts as the client. */
function networkOf(address: Address): string {
  if (address.kind() === 'ipv4') return address.toString();
  return address.toByteArray().slice(0, 8).join('.');
}
