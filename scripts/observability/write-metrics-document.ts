/** `npm run docs:metrics`: writes docs/METRICS.md from the registries of the three processes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { metricsDocument } from './metrics-catalogue.ts';

writeFileSync(join(import.meta.dirname, '../../docs/METRICS.md'), metricsDocument());
console.log('docs/METRICS.md is written.');
