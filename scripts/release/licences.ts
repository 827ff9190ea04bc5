/** Which licences production packages may have. The image contains these packages, so their licences bind its operator. */

/** Permissive ones; a new one needs a look at what it asks for. */
const ALLOWED: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'Unlicense',
  // Not an identifier of SPDX: jsonify, which only patch-package uses, calls itself so.
  'Public Domain',
]);

export interface LicensedPackage {
  name: string;
  /** An SPDX identifier or expression; undefined: the package names none. */
  licence: string | undefined;
}

/** `a: GPL-3.0-only`, for each package whose licence is not allowed. */
export function refusedLicences(packages: readonly LicensedPackage[]): string[] {
  return packages
    .filter(({ licence }) => licence === undefined || !isAllowed(licence))
    .map(({ name, licence }) => `${name}: ${licence ?? 'no licence'}`);
}

/** One alternative of an `OR` is enough, and each part of an `AND` counts. Expressions within others are refused. */
function isAllowed(expression: string): boolean {
  const alternatives = expression.replace(/^\((.*)\)$/, '$1').split(' OR ');
  return alternatives.some((each) => each.split(' AND ').every((licence) => ALLOWED.has(licence)));
}
