/** The rules of deploy/observability/ as objects of the Prometheus operator. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RULE_FILES, RULES_DIRECTORY } from './rules.ts';

export const KUBERNETES_RULES = 'k8s/components/prometheus-operator/prometheus-rules.yaml';

/** Each file of rules is the `spec` of one object. A kustomization cannot read files outside of its directory. */
export function kubernetesRules(): string {
  const objects = RULE_FILES.map((file) => {
    const rules = readFileSync(join(RULES_DIRECTORY, file), 'utf8');
    return `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flash-sale-${file.replace('.yaml', '')}
spec:
${rules.replaceAll(/^(?=.)/gm, '  ')}`;
  });
  return `# Written by \`npm run generate:kubernetes-rules\` from deploy/observability/prometheus. Change the rules there.
${objects.join('---\n')}`;
}
