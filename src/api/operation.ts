/**
 * One operation of an HTTP API as data: its parameters, responses and problems. Both APIs are tables of operations.
 * Routes, validation and the OpenAPI document come from the same table, so they cannot diverge.
 */
import { z } from 'zod';
import { PROBLEMS, type ProblemCode } from './problems.ts';
import { timeSchema } from './schemas.ts';

type ApiTag = 'Buyers' | 'Operators' | 'Merchants' | 'Dashboard' | 'Processes';

export interface ApiResponse {
  description: string;
  /** Undefined: the response has no body. */
  schema?: z.ZodType;
  /** By default `application/json`. */
  contentType?: string;
  /** Descriptions by header name. */
  headers?: Record<string, string>;
}

export interface ApiOperation {
  operationId: string;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** In the notation of OpenAPI, with `{name}` for a parameter. */
  path: string;
  tag: ApiTag;
  summary: string;
  description?: string;
  /** The role that the token must have. */
  access: 'public' | 'buyer' | 'viewer' | 'merchant' | 'operator';
  /** What admin accepts only: the token itself, or a session. Absent: either. */
  credentials?: 'token' | 'session';
  params?: z.ZodObject;
  query?: z.ZodObject;
  headers?: z.ZodObject;
  body?: z.ZodType;
  responses: Record<number, ApiResponse>;
  problems: readonly ProblemCode[];
  /** Fields of its 409 problems that other operations do not have. */
  conflictFields?: Readonly<Record<string, z.ZodType>>;
}

const shortItemsSchema = z
  .array(
    z.object({
      sku: z.string(),
      requested: z.int(),
      available: z.int().nullable().describe('Null: Redis could not be read at that moment.'),
    }),
  )
  .optional()
  .describe('With `sold_out` and `insufficient_stock`: the items of which fewer are available.');

const limitSchemas = {
  limit: z.int().optional().describe('With `limit_reached`: the units that a buyer may have.'),
  remainingAllowance: z
    .int()
    .optional()
    .describe('With `limit_reached`: the units that this buyer may still reserve.'),
  sku: z.string().optional().describe('With `limit_reached`: the SKU whose limit it is.'),
};

/** The schema of a problem with one of these codes. Extension members such as `startsAt` are allowed. */
function problemSchema(
  codes: readonly ProblemCode[],
  conflictFields: ApiOperation['conflictFields'] = {},
) {
  const isShortage = codes.includes('sold_out') || codes.includes('insufficient_stock');
  return z.looseObject({
    ...(isShortage && { items: shortItemsSchema }),
    ...(codes.includes('limit_reached') && limitSchemas),
    ...(codes.includes('sale_not_started') && {
      startsAt: timeSchema
        .nullable()
        .optional()
        .describe('With `sale_not_started`: the start; null: an operator opens the sale.'),
    }),
    ...(codes.includes('too_many_holds') && {
      until: timeSchema
        .optional()
        .describe('With `too_many_holds`: the time from which requests are accepted again.'),
    }),
    ...conflictFields,
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(codes as [ProblemCode, ...ProblemCode[]]),
    detail: z.string(),
    errors: z
      .array(z.object({ field: z.string(), message: z.string() }))
      .optional()
      .describe('The invalid fields of the request.'),
  });
}

/** The APIs have different limits for bodies; the catalogue names the one of the buyers' API. */
function describe(code: ProblemCode): string {
  return code === 'payload_too_large'
    ? 'The body exceeds the limit of this API.'
    : PROBLEMS[code].detail;
}

interface RouteResponse {
  description: string;
  content: Record<string, { schema: z.ZodType }>;
}

/** All responses of an operation by status, problems included, in the format of a Fastify route schema. */
export function responsesOf(operation: ApiOperation): Record<number, RouteResponse> {
  const responses: Record<number, RouteResponse> = {};
  for (const [status, response] of Object.entries(operation.responses)) {
    const { description, schema, contentType = 'application/json' } = response;
    responses[Number(status)] = {
      description,
      content: { [contentType]: { schema: schema ?? z.undefined() } },
    };
  }
  const codesByStatus = Map.groupBy(operation.problems, (code) => PROBLEMS[code].status);
  for (const [status, codes] of codesByStatus) {
    const conflictFields = status === 409 ? operation.conflictFields : undefined;
    const schema = problemSchema(codes, conflictFields);
    const problems = { 'application/problem+json': { schema } };
    const description = codes.map((code) => `\`${code}\`: ${describe(code)}`).join('\n\n');
    const response = responses[status];
    responses[status] = response
      ? { ...response, content: { ...response.content, ...problems } }
      : { description, content: problems };
  }
  return responses;
}
