/** `npm run generate:kubernetes-rules`: writes the rules of deploy/observability/ for the Prometheus operator. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KUBERNETES_RULES, kubernetesRules } from './kubernetes-rules.ts';

writeFileSync(join(import.meta.dirname, '../..', KUBERNETES_RULES), kubernetesRules());
console.log(`${KUBERNETES_RULES} is written.`);
