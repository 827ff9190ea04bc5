/** A certificate authority that nobody knows, and a certificate of its for `localhost`, drawn anew by openssl. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';

export interface Certificates {
  /** Paths. */
  authority: string;
  certificate: string;
  key: string;
  remove(): void;
}

export function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-certificates-'));
  // PostgreSQL's own user has to get in where tests run as root.
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
