/**
 * Generates values that satisfy a JSON Schema, and values that nearly do, for the keywords that the OpenAPI document
 * uses. It fails on an unknown type, so that the document cannot outgrow it unnoticed.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';

export interface JsonSchema {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  pattern?: string;
  format?: string;
  default?: unknown;
}

/** Longer lists and texts test nothing more. */
const ITEMS_MAX = 4;
const LENGTH_MAX = 60;

export type Resolve = (reference: string) => JsonSchema;

export function arbitraryOf(schema: JsonSchema, resolve: Resolve): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) return arbitraryOf(resolve(schema.$ref), resolve);
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return fc.oneof(...either.map((each) => arbitraryOf(each, resolve)));
  switch (schema.type) {
    case 'object':
      return objectOf(schema, resolve);
    case 'array':
      return fc.array(arbitraryOf(schema.items ?? {}, resolve), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.max(
          schema.minItems ?? 0,
          Math.min(schema.maxItems ?? ITEMS_MAX, ITEMS_MAX),
        ),
      });
    case 'string':
      return stringOf(schema);
    case 'integer':
    case 'number':
      return fc.integer({
        min: Math.max(schema.minimum ?? -(2 ** 31), -(2 ** 31)),
        max: Math.min(schema.maximum ?? 2 ** 31 - 1, 2 ** 31 - 1),
      });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case undefined:
      return fc.jsonValue();
    default:
      return assert.fail(`no values for a schema of type ${JSON.stringify(schema.type)}`);
  }
}

/** A value that satisfies the schema, except perhaps at one path: there it has any value, or none. */
export function nearlyOf(schema: JsonSchema, resolve: Resolve): fc.Arbitrary<unknown> {
  return fc
    .tuple(arbitraryOf(schema, resolve), fc.nat(), fc.option(fc.jsonValue(), { nil: undefined }))
    .map(([value, index, other]) => {
      const paths = pathsIn(value);
      return replaceAt(value, paths[index % paths.length]!, other);
    });
}

function objectOf(schema: JsonSchema, resolve: Resolve): fc.Arbitrary<unknown> {
  const properties = Object.entries(schema.properties ?? {}).map(
    ([name, each]) => [name, arbitraryOf(each, resolve)] as const,
  );
  return fc.record(Object.fromEntries(properties), {
    requiredKeys: (schema.required ?? []).filter((name) => name in (schema.properties ?? {})),
  });
}

function stringOf({ pattern, format, minLength = 0, maxLength = LENGTH_MAX }: JsonSchema) {
  if (format === 'date-time') {
    const within = { min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true };
    return fc.date(within).map((date) => date.toISOString());
  }
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern, 'u'));
  return fc.string({ unit: 'binary', minLength, maxLength: Math.min(maxLength, LENGTH_MAX) });
}

type Path = readonly (string | number)[];

function pathsIn(value: unknown, at: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [at];
  const inner = Object.entries(value).flatMap(([key, each]) => pathsIn(each, [...at, key]));
  return [at, ...inner];
}

function replaceAt(value: unknown, [key, ...rest]: Path, other: unknown): unknown {
  if (key === undefined) return other;
  const inner = replaceAt((value as Record<string, unknown>)[key], rest, other);
  if (Array.isArray(value))
    return value.map((each, index) => (index === Number(key) ? inner : each));
  return { ...(value as object), [key]: inner };
}
