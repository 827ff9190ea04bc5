/**
 * What a version promises to keep (docs/STABILITY.md), as sorted lines that can be compared. A line that disappears is
 * a change that breaks somebody; so is a new field that requests must have.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { OpenAPIV3_1 } from 'openapi-types';
import type { OpenApiDocument } from '../../src/admin/docs/openapi.ts';
import { VARIABLES } from '../../src/config.ts';
import { WEBHOOK_EVENTS } from '../../src/domain/webhook.ts';
import type { Sql } from '../../src/postgres/connection.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import { readCatalogue } from '../observability/metrics-catalogue.ts';

type Reference = OpenAPIV3_1.ReferenceObject;
type Schema = OpenAPIV3_1.SchemaObject | Reference;
type Operation = OpenAPIV3_1.OperationObject;

const TABLES = [
  'reservations',
  'reservation_events',
  'reservation_history',
  'sales',
  'stock_ledger',
];
/** The dashboard's own routes, which STABILITY.md leaves out. */
const NOT_COVERED = /^\/(dashboard|session)/;
/** Every response and every problem has these. They would be most of the lines. */
const IN_EVERY_RESPONSE =
  /(header X-Request-Id| [45]\d\d(\.(type|title|status|detail|code) (string|integer) always|\.errors.*)?)$/;
const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const;
const COMMAND = /^ {2}([a-z][a-z-]*)/gm;
const OPTION = /^ {2}(--[a-z0-9-]+(?: <[^>]+>)?)/gm;
const USAGE = /^Usage: flash-sale (.*?)(?: \[options\])?( .*)?$/m;

const run = promisify(execFile);

/** `sql`: a migrated database. */
export async function interfaceLines(document: OpenApiDocument, sql: Sql): Promise<string[]> {
  const lines = [
    ...apiLines(document),
    ...(await commandLines()),
    ...(await columnLines(sql)),
    ...Object.values(VARIABLES)
      .flat()
      .map((name) => `variable ${name}`),
    ...WEBHOOK_EVENTS.map((type) => `webhook ${type}`),
    ...metricLines(),
  ];
  return [...new Set(lines)].toSorted();
}

/**
 * The lines that the code has lost, and what it newly demands of requests. Empty: programs that use the recorded
 * interface can use this one. A request may need less, and a response may always have a field that it had sometimes.
 */
export function brokenLines(recorded: readonly string[], now: readonly string[]): string[] {
  const present = new Set(now);
  const lost = recorded.filter(
    (line) =>
      !present.has(line) &&
      !present.has(`${line} always`) &&
      !(line.endsWith(' must') && present.has(line.replace(/must$/, 'may'))),
  );
  const known = new Set(recorded);
  const parents = new Set(recorded.map(withoutEnd));
  const demanded = now.filter(
    (line) => line.endsWith(' must') && !known.has(line) && parents.has(parentOf(line)),
  );
  return [...lost.map((line) => `lost: ${line}`), ...demanded.map((line) => `demanded: ${line}`)];
}

/** Such as `POST /buy body.items`: a request that has it needs what is new in it. */
function parentOf(line: string): string {
  const [operation, field] = [line.split(' ', 2).join(' '), withoutEnd(line)];
  const isInside = /^\S+ \S+ body\..*\./.test(field);
  return isInside ? field.slice(0, field.lastIndexOf('.')) : operation;
}

/** Without the type and the need: the method and path, or these and a field of the body. */
function withoutEnd(line: string): string {
  const [method, path, field = ''] = line.split(' ');
  return field.startsWith('body.') ? `${method} ${path} ${field}` : `${method} ${path}`;
}

function apiLines({ paths, components }: OpenApiDocument): string[] {
  const operations = Object.entries(paths ?? {})
    .filter(([path]) => !NOT_COVERED.test(path))
    .flatMap(([path, methods]) =>
      METHODS.flatMap((method) => {
        const operation = methods?.[method];
        return operation ? operationLines(`${method.toUpperCase()} ${path}`, operation) : [];
      }),
    );
  const shapes = Object.entries(components?.schemas ?? {}).map(
    ([name, schema]) => [name, shapeLines(`schema ${name}`, schema)] as const,
  );
  const lines = [...operations, ...shapes.flatMap(([, shape]) => shape)];
  const isCovered = (name: string) => lines.some((line) => line.includes(` is ${name}`));
  return [...operations, ...shapes.flatMap(([name, shape]) => (isCovered(name) ? shape : []))];
}

function operationLines(name: string, operation: Operation): string[] {
  const parameters = withoutReferences(operation.parameters ?? []).flatMap(
    ({ in: place, name: field, required, schema }) => [
      `${name} ${place} ${field} ${typesOf(inPlace(schema)).join('|')}${ofRequest(required)}`,
      ...shapeLines(`${name} ${place} ${field}`, inPlace(schema)),
    ],
  );
  const [body] = withoutReferences(operation.requestBody ? [operation.requestBody] : []);
  const bodyLines = body
    ? [
        `${name} body${ofRequest(body.required)}`,
        ...contentLines(`${name} body`, body.content, ofRequest),
      ]
    : [];
  const responses = Object.entries(operation.responses ?? {}).flatMap(([status, response]) => [
    `${name} ${status}`,
    ...withoutReferences([response]).flatMap(({ headers = {}, content = {} }) => [
      ...Object.keys(headers).map((header) => `${name} ${status} header ${header}`),
      ...contentLines(`${name} ${status}`, content, ofResponse),
    ]),
  ]);
  return [...parameters, ...bodyLines, ...responses].filter(
    (line) => !IN_EVERY_RESPONSE.test(line),
  );
}

type NeedOf = (isRequired: boolean | undefined) => string;
const ofRequest: NeedOf = (isRequired) => (isRequired ? ' must' : ' may');
const ofResponse: NeedOf = (isRequired) => (isRequired ? ' always' : '');

function contentLines(
  name: string,
  content: Record<string, OpenAPIV3_1.MediaTypeObject>,
  needOf: NeedOf,
): string[] {
  return Object.entries(content).flatMap(([type, { schema }]) => [
    ...(type.endsWith('json') ? [] : [`${name} ${type}`]),
    ...(schema ? shapeLines(name, schema, { needOf }) : []),
  ]);
}

interface Shape {
  path?: string;
  need?: string;
  needOf?: NeedOf;
}

/** A line for each field with its types, and one for each of its values. A named schema has lines of its own. */
function shapeLines(
  name: string,
  schema: Schema,
  { path = '', need = '', needOf = ofResponse }: Shape = {},
): string[] {
  if ('$ref' in schema && needOf === ofResponse) {
    return [`${name}${path} is ${schema.$ref.split('/').at(-1)}${need}`];
  }
  const own = inPlace(schema);
  const { const: only, enum: values = only === undefined ? [] : [only] } = own;
  const types = typesOf(own);
  return [
    ...(path !== '' && types.length > 0 ? [`${name}${path} ${types.join('|')}${need}`] : []),
    ...values.map((value) => `${name}${path} = ${String(value)}`),
    ...partsOf(own).flatMap((part) =>
      isPlain(part) ? [] : shapeLines(`${name}${variantOf(part)}`, part, { path, need, needOf }),
    ),
    ...('items' in own && own.items
      ? shapeLines(name, own.items, { path: `${path}[]`, needOf })
      : []),
    ...Object.entries(own.properties ?? {}).flatMap(([field, property]) =>
      shapeLines(name, property, {
        path: `${path}.${field}`,
        need: needOf(own.required?.includes(field)),
        needOf,
      }),
    ),
  ];
}

/** Named schemas are listed once, as responses have them. */
function inPlace(schema: Schema = {}): OpenAPIV3_1.SchemaObject {
  if ('$ref' in schema)
    throw new Error(`a request has the named schema ${schema.$ref}: list it in place`);
  return schema;
}

function partsOf({ anyOf = [], oneOf = [], allOf = [] }: OpenAPIV3_1.SchemaObject): Schema[] {
  return [...anyOf, ...oneOf, ...allOf];
}

/** A type without fields or values, such as the `null` beside another type. */
function isPlain(schema: Schema): boolean {
  if ('$ref' in schema) return false;
  return partsOf(schema).length === 0 && !schema.properties && !schema.enum && !('items' in schema);
}

/** The own types, and those of its plain parts: `integer|null`. */
function typesOf(schema: OpenAPIV3_1.SchemaObject): string[] {
  const own = schema.type === undefined ? [] : [schema.type].flat();
  const plain = partsOf(schema).flatMap((part) =>
    isPlain(part) ? typesOf(part as OpenAPIV3_1.SchemaObject) : [],
  );
  return [...own, ...plain].toSorted();
}

/** What tells the variants of a message apart: the constant `type`. */
function variantOf(part: Schema): string {
  const type = 'properties' in part ? part.properties?.type : undefined;
  return type && 'const' in type ? `(${String(type.const)})` : '';
}

function withoutReferences<T extends object>(parts: readonly (T | Reference)[]): T[] {
  return parts.filter((part): part is T => !('$ref' in part));
}

/** From `--help`: the commands, what each takes, and its options. */
async function commandLines(): Promise<string[]> {
  const help = async (...args: string[]) =>
    (await run(process.execPath, [MAIN_MODULE, ...args, '--help'])).stdout;
  const commands = [...(await help()).matchAll(COMMAND)].map(([, name]) => name!);
  const lines = commands
    .filter((name) => name !== 'help')
    .map(async (name) => {
      const text = await help(name);
      const [, command, args = ''] = USAGE.exec(text)!;
      const options = [...text.matchAll(OPTION)].map(([, option]) => option!);
      return [`${command}${args}`, ...options.map((option) => `${name} ${option}`)];
    });
  return (await Promise.all(lines)).flat().map((line) => `command ${line}`);
}

async function columnLines(sql: Sql): Promise<string[]> {
  const rows = await sql<{ line: string }[]>`
    SELECT table_name || '.' || column_name || ' ' || data_type AS line FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = ANY(${sql.array(TABLES)})`;
  return rows.map(({ line }) => `column ${line}`);
}

function metricLines(): string[] {
  return readCatalogue()
    .flatMap(({ entries }) => entries)
    .filter(({ name }) => name.startsWith('flash_sale_'))
    .map(({ name, type, labels }) => `metric ${name} ${type} {${labels.toSorted().join(', ')}}`);
}
