/**
 * One operation of an HTTP API as data: what it takes, what it answers, which problems it may give. Both APIs are
 * tables of these; validation and the OpenAPI document come from the same table and can not drift apart.
 */
import { z } from 'zod';
import { PROBLEMS, type ProblemCode } from './problems.ts';

export type ApiTag = 'Buyers' | 'Operators' | 'Merchants' | 'Processes';

export interface ApiResponse {
  description: string;
  /** None: the answer has no body. */
  schema?: z.ZodType;
  /** `application/json` unless said. */
  contentType?: string;
  /** Response headers of this answer: name -> what it says. */
  headers?: Record<string, string>;
}

export interface ApiOperation {
  operationId: string;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** With `{name}` for each parameter, as OpenAPI writes it. */
  path: string;
  tag: ApiTag;
  summary: string;
  description?: string;
  /** Whose token it wants. */
  access: 'public' | 'buyer' | 'viewer' | 'merchant' | 'operator';
  params?: z.ZodObject;
  query?: z.ZodObject;
  headers?: z.ZodObject;
  body?: z.ZodType;
  responses: Record<number, ApiResponse>;
  problems: readonly ProblemCode[];
}

/** What a problem looks like that has one of these codes. Extensions such as `startsAt` come on top. */
function problemSchema(codes: readonly ProblemCode[]) {
  return z.looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(codes as [ProblemCode, ...ProblemCode[]]),
    detail: z.string(),
    errors: z
      .array(z.object({ field: z.string(), message: z.string() }))
      .optional()
      .describe('The mistakes in the request, where it was not understood.'),
  });
}

/** The limit of a body is each API's own, and the catalogue's words are the buyers'. */
function describe(code: ProblemCode): string {
  return code === 'payload_too_large'
    ? 'The body is larger than this API takes.'
    : PROBLEMS[code].detail;
}

interface RouteResponse {
  description: string;
  content: Record<string, { schema: z.ZodType }>;
}

/** All answers of an operation by status, problems among them, in the form that a route's schema takes. */
export function responsesOf(operation: ApiOperation): Record<number, RouteResponse> {
  const answers: Record<number, RouteResponse> = {};
  for (const [status, answer] of Object.entries(operation.responses)) {
    const { description, schema, contentType = 'application/json' } = answer;
    answers[Number(status)] = {
      description,
      content: { [contentType]: { schema: schema ?? z.undefined() } },
    };
  }
  const codesByStatus = Map.groupBy(operation.problems, (code) => PROBLEMS[code].status);
  for (const [status, codes] of codesByStatus) {
    const problems = { 'application/problem+json': { schema: problemSchema(codes) } };
    const description = codes.map((code) => `\`${code}\`: ${describe(code)}`).join('\n\n');
    const answer = answers[status];
    answers[status] = answer
      ? { ...answer, content: { ...answer.content, ...problems } }
      : { description, content: problems };
  }
  return answers;
}
