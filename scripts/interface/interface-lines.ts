/**
 * What a version promises to keep (docs/STABILITY.md), as sorted lines that can be compared. A line that disappears is a
 * change that breaks somebody; a field that requests must have now is one, too.
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
/** What every problem and every response has is covered by STABILITY.md and would be most of the lines. */
const IN_EVERY_RESPONSE =
  /(header X-Request-Id| [45]\d\d(\.(type|title|status|detail|code) (string|integer)|\.errors.*)?)$/;
const METHODS = ['get', 'post', 'patch', 'delete'] as const;
const HELP_WORDS = /^ {2}((?:--)?[a-z][a-z0-9-]*)/gm;

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

/** What the code has lost or demands newly; empty: whoever uses the recorded interface can use this one. */
export function brokenLines(recorded: readonly string[], now: readonly string[]): string[] {
  const lost = recorded.filter((line) => !now.includes(line)).map((line) => `lost: ${line}`);
  const operations = new Set(recorded.map(operationOf));
  const demanded = now
    .filter((line) => line.endsWith(' must') && !recorded.includes(line))
    .filter((line) => operations.has(operationOf(line)))
    .map((line) => `demanded: ${line}`);
  return [...lost, ...demanded];
}

/** The method and path, which requests of a new operation do not share with a recorded one. */
function operationOf(line: string): string {
  return line.split(' ', 2).join(' ');
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
  const parameters = withoutReferences(operation.parameters ?? []).map(
    ({ in: place, name: field, required }) => `${name} ${place} ${field}${needOf(required)}`,
  );
  const [body] = withoutReferences(operation.requestBody ? [operation.requestBody] : []);
  const responses = Object.entries(operation.responses ?? {}).flatMap(([status, response]) => [
    `${name} ${status}`,
    ...withoutReferences([response]).flatMap(({ headers = {}, content = {} }) => [
      ...Object.keys(headers).map((header) => `${name} ${status} header ${header}`),
      ...contentLines(`${name} ${status}`, content),
    ]),
  ]);
  const bodyLines = contentLines(`${name} body`, body?.content ?? {}, needOf);
  return [...parameters, ...bodyLines, ...responses].filter(
    (line) => !IN_EVERY_RESPONSE.test(line),
  );
}

type NeedOf = (isRequired: boolean | undefined) => string;

function contentLines(
  name: string,
  content: Record<string, OpenAPIV3_1.MediaTypeObject>,
  needs?: NeedOf,
): string[] {
  return Object.values(content).flatMap(({ schema }) =>
    schema ? shapeLines(name, schema, { needs }) : [],
  );
}

/** A line for each field with its type, and one for each of its values. A named schema has lines of its own. */
function shapeLines(
  name: string,
  schema: Schema,
  {
    path = '',
    need = '',
    needs,
  }: { path?: string; need?: string; needs?: NeedOf | undefined } = {},
): string[] {
  if ('$ref' in schema) return [`${name}${path} is ${schema.$ref.split('/').at(-1)}${need}`];
  const { type, const: only, enum: values = only === undefined ? [] : [only] } = schema;
  const parts = [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])];
  const isField = path !== '' && type !== undefined;
  return [
    ...(isField ? [`${name}${path} ${[type].flat().join('|')}${need}`] : []),
    ...values.map((value) => `${name}${path} = ${String(value)}`),
    ...parts.flatMap((part) => shapeLines(name, part, { path, need, needs })),
    ...('items' in schema && schema.items
      ? shapeLines(name, schema.items, { path: `${path}[]`, needs })
      : []),
    ...Object.entries(schema.properties ?? {}).flatMap(([field, property]) =>
      shapeLines(name, property, {
        path: `${path}.${field}`,
        need: needs?.(schema.required?.includes(field)) ?? '',
        needs,
      }),
    ),
  ];
}

/** Only requests need something. */
function needOf(isRequired: boolean | undefined): string {
  return isRequired ? ' must' : ' may';
}

function withoutReferences<T extends object>(parts: readonly (T | Reference)[]): T[] {
  return parts.filter((part): part is T => !('$ref' in part));
}

/** The words of `--help`: commands of the program, and options of each command. */
async function commandLines(): Promise<string[]> {
  const help = async (...args: string[]) => {
    const { stdout } = await run(process.execPath, [MAIN_MODULE, ...args, '--help']);
    return [...stdout.matchAll(HELP_WORDS)].map(([, word]) => word!);
  };
  const commands = (await help()).filter((word) => !word.startsWith('-') && word !== 'help');
  const options = commands.map(async (name) =>
    (await help(name))
      .filter((word) => word.startsWith('-'))
      .map((word) => `command ${name} ${word}`),
  );
  return [...commands.map((name) => `command ${name}`), ...(await Promise.all(options)).flat()];
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
    .map(({ name, type, labels }) => `metric ${name} ${type} {${labels.join(', ')}}`);
}
