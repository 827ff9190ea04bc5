/** X-Forwarded-For is whatever a client says it is, except for what a trusted balancer has appended. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import ipaddr from 'ipaddr.js';
import { createClientAddress } from '../../src/hot-path/admission/client-address.ts';

function clientOf(trusted: string[], peer: string, ...forwardedFor: string[]): string {
  const bytes = Uint8Array.from(ipaddr.parse(peer).toByteArray()).buffer;
  return createClientAddress(trusted)(
    { getRemoteAddress: () => bytes },
    {
      forEach: (each) => {
        for (const value of forwardedFor) each('x-forwarded-for', value);
      },
    },
  );
}

const BALANCERS = ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'];

describe('the client of a request', () => {
  it('is who connects, whatever the header says, where no balancer is trusted', () => {
    assert.equal(clientOf([], '203.0.113.5', '198.51.100.1'), '203.0.113.5');
    assert.equal(clientOf(BALANCERS, '203.0.113.5', '198.51.100.1'), '203.0.113.5');
  });

  it('is the nearest address that is no balancer', () => {
    assert.equal(clientOf(BALANCERS, '10.1.2.3', '198.51.100.1'), '198.51.100.1');
    assert.equal(clientOf(BALANCERS, '192.0.2.7', '198.51.100.1, 10.9.9.9'), '198.51.100.1');
    assert.equal(clientOf(BALANCERS, 'fd00::1', '198.51.100.1'), '198.51.100.1');
  });

  it('is not what the client wrote in front of what the balancer appended', () => {
    const invented = '1.2.3.4, 10.0.0.1';
    assert.equal(clientOf(BALANCERS, '10.1.2.3', `${invented}, 198.51.100.1`), '198.51.100.1');
    // Some balancers append a header of their own instead.
    assert.equal(clientOf(BALANCERS, '10.1.2.3', invented, '198.51.100.1'), '198.51.100.1');
  });

  it('is the balancer where it names nobody, or nobody who could be', () => {
    assert.equal(clientOf(BALANCERS, '10.1.2.3'), '10.1.2.3');
    for (const nobody of ['', ',', 'unknown', '999.1.1.1', '<script>', '1.2.3.4:80']) {
      assert.equal(clientOf(BALANCERS, '10.1.2.3', nobody), '10.1.2.3', nobody);
    }
  });

  it('is one network, from whichever address of its /64 it comes', () => {
    const one = clientOf([], '2001:db8:1:2::1');
    assert.equal(clientOf([], '2001:db8:1:2:ffff:ffff:ffff:ffff'), one);
    assert.notEqual(clientOf([], '2001:db8:1:3::1'), one);
    assert.equal(clientOf([], '::ffff:203.0.113.5'), '203.0.113.5');
  });
});
