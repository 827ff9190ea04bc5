/**
 * The network that counts as one client. Behind trusted proxies it is the rightmost address in `X-Forwarded-For` that is
 * not a trusted proxy. Clients can forge the addresses to the left of it.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import ipaddr from 'ipaddr.js';

type Address = ReturnType<typeof ipaddr.process>;

export type ClientAddress = (
  response: Pick<HttpResponse, 'getRemoteAddress'>,
  request: Pick<HttpRequest, 'forEach'>,
) => string;

/** `trustedProxies` are addresses and CIDR ranges. */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  const ranges = trustedProxies.map((range) =>
    range.includes('/') ? ipaddr.parseCIDR(range) : hostRange(range),
  );
  const isTrusted = (address: Address) =>
    ranges.some((range) => range[0].kind() === address.kind() && address.match(range));

  return (response, request) => {
    let address = addressOfBytes(response.getRemoteAddress());
    if (!isTrusted(address)) return networkOf(address);
    const hops = forwardedFor(request).split(',');
    while (isTrusted(address) && hops.length > 0) {
      const hop = hops.pop()!.trim();
      if (!ipaddr.isValid(hop)) break;
      address = ipaddr.process(hop);
    }
    return networkOf(address);
  };
}

/** Joins all headers of that name: some proxies append their own header after the one of the client. */
function forwardedFor(request: Pick<HttpRequest, 'forEach'>): string {
  const values: string[] = [];
  request.forEach((name, value) => {
    if (name === 'x-forwarded-for') values.push(value);
  });
  return values.join(',');
}

function addressOfBytes(bytes: ArrayBuffer): Address {
  const address = ipaddr.fromByteArray([...new Uint8Array(bytes)]);
  return ipaddr.process(address.toString());
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
