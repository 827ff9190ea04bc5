/** Certificates for `localhost`: from a new private authority, and a self-signed one that no client trusts. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Scope, use } from '../use.ts';

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';

export interface Certificates {
  /** Paths of PEM files. */
  authority: string;
  certificate: string;
  key: string;
  remove(): void;
}

/** Created by openssl. */
export function useCertificates(scope: Scope): Promise<Certificates> {
  return use(scope, makeCertificates, (certificates) => certificates.remove());
}

function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-certificates-'));
  // PostgreSQL's user must be able to read it where tests run as root.
  chmodSync(directory, 0o755);
  const at = (name: string) => join(directory, name);
  const openssl = (command: string) =>
    execFileSync('openssl', command.split(' '), { cwd: directory, stdio: 'pipe' });
  openssl(
    `req -x509 ${NEW_KEY} -days 2 -subj /CN=authority -keyout authority.key -out authority.pem`,
  );
  openssl(`req ${NEW_KEY} -subj /CN=localhost -keyout server.key -out server.csr`);
  writeFileSync(at('names'), 'subjectAltName=DNS:localhost');
  openssl(
    'x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.pem',
  );
  return {
    authority: at('authority.pem'),
    certificate: at('server.pem'),
    key: at('server.key'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** For `localhost`, valid until 2126. */
export const SELF_SIGNED = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjetJ3bWu28/L6ODh
NY3CblszI7RCchnHrTZEsNhgA02hRANCAAQkEZrDrk0rrw8tm0HYLYqMk4SQCqei
YdcnKJOi2K/YpLwqKe6X0yFYE6QnBPgBck7IX+5700RmxK+tm+wNPjqD
-----END PRIVATE KEY-----`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUE+XrbZVxNal2b9x3keZqckNYHN8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDExMDA0MVoYDzIxMjYxMDI3
MTEwMDQxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQkEZrDrk0rrw8tm0HYLYqMk4SQCqeiYdcnKJOi2K/YpLwqKe6X0yFY
E6QnBPgBck7IX+5700RmxK+tm+wNPjqDo2kwZzAdBgNVHQ4EFgQUQ2AMxayqwkl4
3i09NKIjzCaRicgwHwYDVR0jBBgwFoAUQ2AMxayqwkl43i09NKIjzCaRicgwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SQAwRgIhAJF2dXH+FlYbzbG0P6Eh5tKnrZYcw7mo9eXvlWA+1aLoAiEAivjP4Q43
T0rcNC+FwVjjyShQgpSmMaG5juJfv9mrP84=
-----END CERTIFICATE-----`,
};
