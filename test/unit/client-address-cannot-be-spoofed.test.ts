/** A client can send any X-Forwarded-For. Only the part that a trusted balancer appended counts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import ipaddr from 'ipaddr.js';
import { createClientAddress } from '../../src/process/client-address.ts';

function clientOf(trusted: string[], peer: string, ...forwardedFor: string[]): string {
  const addressOf = createClientAddress(trusted);
  const address = addressOf(peer, () => forwardedFor.join(','));
  const bytes = Uint8Array.from(ipaddr.parse(peer).toByteArray());
  assert.equal(
    addressOf(bytes, () => forwardedFor.join(',')),
    address,
  );
  return address;
}

const BALANCERS = ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'];

describe('the client of a request', () => {
  it('is the connecting address, whatever the header says, unless a trusted balancer connects', () => {
    assert.equal(clientOf([], '203.0.113.5', '198.51.100.1'), '203.0.113.5');
    assert.equal(clientOf(BALANCERS, '203.0.113.5', '198.51.100.1'), '203.0.113.5');
  });

  it('is the nearest address that is not a balancer', () => {
    assert.equal(clientOf(BALANCERS, '10.1.2.3', '198.51.100.1'), '198.51.100.1');
    assert.equal(clientOf(BALANCERS, '192.0.2.7', '198.51.100.1, 10.9.9.9'), '198.51.100.1');
    assert.equal(clientOf(BALANCERS, 'fd00::1', '198.51.100.1'), '198.51.100.1');
  });

  it('is not an address that the client put before that of the balancer', () => {
    const invented = '1.2.3.4, 10.0.0.1';
    assert.equal(clientOf(BALANCERS, '10.1.2.3', `${invented}, 198.51.100.1`), '198.51.100.1');
    // Some balancers append a second header instead.
    assert.equal(clientOf(BALANCERS, '10.1.2.3', invented, '198.51.100.1'), '198.51.100.1');
  });

  it('is nobody once the connection is closed', () => {
    const addressOf = createClientAddress(BALANCERS);
    assert.equal(
      addressOf(new Uint8Array(), () => '198.51.100.1'),
      '',
    );
  });

  it('is the balancer where the header names no valid address', () => {
    assert.equal(clientOf(BALANCERS, '10.1.2.3'), '10.1.2.3');
    for (const invalid of [
      '',
      ',',
      'unknown',
      '999.1.1.1',
      '<script>',
      '1.2.3.4:',
      '[::1',
      '1.2.3.4:80:80',
    ]) {
      assert.equal(clientOf(BALANCERS, '10.1.2.3', invalid), '10.1.2.3', invalid);
    }
  });

  it('has no port', () => {
    for (const hop of ['203.0.113.7:51001', '203.0.113.7']) {
      assert.equal(clientOf(BALANCERS, '10.1.2.3', hop), '203.0.113.7', hop);
    }
    assert.equal(
      clientOf(BALANCERS, '10.1.2.3', '1.2.3.4:1, 203.0.113.7:2, 10.9.9.9:3'),
      '203.0.113.7',
    );
    const network = clientOf([], '2001:db8::7');
    for (const hop of ['2001:db8::7', '[2001:db8::7]', '[2001:db8::7]:51001']) {
      assert.equal(clientOf(BALANCERS, '10.1.2.3', hop), network, hop);
    }
  });

  it('is one network for all IPv6 addresses of a /64', () => {
    const one = clientOf([], '2001:db8:1:2::1');
    assert.equal(clientOf([], '2001:db8:1:2:ffff:ffff:ffff:ffff'), one);
    assert.notEqual(clientOf([], '2001:db8:1:3::1'), one);
    assert.equal(clientOf([], '::ffff:203.0.113.5'), '203.0.113.5');
  });
});
