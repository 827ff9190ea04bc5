/** The operations that every process serves about itself: health, readiness, metrics. */
import { z } from 'zod';
import type { ApiOperation } from './operation.ts';
import { healthSchema } from './schemas.ts';

export const PROCESS_OPERATIONS = [
  {
    operationId: 'getHealth',
    method: 'GET',
    path: '/healthz',
    tag: 'Processes',
    summary: 'Whether this process runs',
    access: 'public',
    responses: { 200: { description: 'It runs.', schema: healthSchema } },
    problems: ['method_not_allowed'],
  },
  {
    operationId: 'getReadiness',
    method: 'GET',
    path: '/readyz',
    tag: 'Processes',
    summary: 'Whether this process is ready, and which dependencies are missing',
    access: 'public',
    responses: {
      200: { description: 'Ready.', schema: healthSchema },
      503: { description: 'Not ready: see `missing`.', schema: healthSchema },
    },
    problems: ['method_not_allowed'],
  },
  {
    operationId: 'getMetrics',
    method: 'GET',
    path: '/metrics',
    tag: 'Processes',
    summary: 'Metrics in the text format of Prometheus',
    access: 'public',
    responses: {
      200: {
        description: 'The metrics, aggregated over all workers that share the port.',
        schema: z.string(),
        contentType: 'text/plain',
      },
    },
    problems: ['method_not_allowed', 'unavailable'],
  },
] as const satisfies readonly ApiOperation[];
