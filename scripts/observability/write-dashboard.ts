/** `npm run docs:dashboard`: writes deploy/observability/grafana/dashboard.json. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dashboardJson } from './dashboard.ts';

const FILE = 'deploy/observability/grafana/dashboard.json';
writeFileSync(join(import.meta.dirname, '../..', FILE), dashboardJson());
console.log(`${FILE} is written.`);
