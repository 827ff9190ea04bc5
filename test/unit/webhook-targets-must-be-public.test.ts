/** Webhooks may only go to public addresses; every spelling of a private one is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { complaintAboutUrl, isPublicAddress } from '../../src/domain/webhook-target.ts';

const PUBLIC = [
  'https://example.com/hook',
  'https://example.com:8443/hook?key=value',
  'https://8.8.8.8/',
  'https://[2606:4700::1111]/',
];

const REFUSED = [
  'https://127.0.0.1/',
  'https://127.9.9.9/',
  'https://0x7f.1/',
  'https://2130706433/',
  'https://0177.0.0.1/',
  'https://127.1/',
  'https://0.0.0.0/',
  'https://10.0.0.1/',
  'https://172.16.0.1/',
  'https://192.168.1.1/',
  'https://100.64.0.1/',
  'https://169.254.169.254/latest/meta-data/',
  'https://192.0.2.1/',
  'https://198.18.0.1/',
  'https://224.0.0.1/',
  'https://240.0.0.1/',
  'https://255.255.255.255/',
  'https://[::]/',
  'https://[::1]/',
  'https://[::127.0.0.1]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::ffff:7f00:1]/',
  'https://[::ffff:8.8.8.8]/',
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://[2001::1]/',
  'https://[fe80::1]/',
  'https://[fec0::1]/',
  'https://[fc00::1]/',
  'https://[fd12:3456::1]/',
  'https://[ff02::1]/',
  'https://[4000::1]/',
];

const NEVER = [
  '',
  'example.com',
  '/hook',
  'ftp://example.com/',
  'file:///etc/passwd',
  'gopher://example.com/',
  'data:text/plain,hello',
  'https://',
  'https://user@example.com/',
  'https://user:secret@example.com/',
  'https://example.com/#fragment',
];

describe('the target of a webhook', () => {
  it('may be a public address', () => {
    for (const url of PUBLIC) {
      assert.equal(complaintAboutUrl(url, { isDevelopment: false }), undefined, url);
    }
  });

  it('must not be a private address in any spelling', () => {
    for (const url of REFUSED) {
      assert.match(complaintAboutUrl(url, { isDevelopment: false }) ?? '', /public/, url);
      assert.equal(complaintAboutUrl(url, { isDevelopment: true }), undefined, url);
    }
  });

  it('must use TLS, except in development', () => {
    const url = 'http://example.com/hook';
    assert.match(complaintAboutUrl(url, { isDevelopment: false }) ?? '', /https/);
    assert.equal(complaintAboutUrl(url, { isDevelopment: true }), undefined);
  });

  it('must be an http(s) URL without credentials', () => {
    for (const url of NEVER) {
      for (const isDevelopment of [true, false]) {
        assert.ok(complaintAboutUrl(url, { isDevelopment }), url);
      }
    }
  });

  it('is public only if the address is known to be public', () => {
    assert.ok(isPublicAddress('8.8.8.8'));
    assert.ok(isPublicAddress('2606:4700::1111'));
    for (const address of [
      '',
      'localhost',
      '::1%lo',
      '127.0.0.1',
      'fe80::1%eth0',
      '::ffff:8.8.8.8',
    ]) {
      assert.ok(!isPublicAddress(address), address);
    }
  });
});
