/**
 * Generates the types of the TypeScript client from the OpenAPI document of the buyers' API:
 *   node scripts/generate-client-types.ts           writes clients/typescript/src/openapi.ts
 *   node scripts/generate-client-types.ts --check   fails if that file is not current
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import Fastify from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { buildDocument, describeRoutes } from '../src/admin/docs/openapi.ts';

const FILE = fileURLToPath(new URL('../clients/typescript/src/openapi.ts', import.meta.url));
const COMMAND = 'npm run generate:client';

/**
 * openapi-typescript builds its output with the API of TypeScript, which TypeScript 7 does not have. This package bundles
 * the last one that has it.
 */
const TYPESCRIPT = new URL('typescript.js', import.meta.resolve('@ts-morph/common')).href;
registerHooks({
  resolve: (specifier, context, nextResolve) =>
    nextResolve(specifier === 'typescript' ? TYPESCRIPT : specifier, context),
});

const { default: openapiTypescript, astToString } = await import('openapi-typescript');
const app = Fastify();
app.setValidatorCompiler(validatorCompiler);
app.setSerializerCompiler(serializerCompiler);
await describeRoutes(app);
await app.ready();
const document = await buildDocument(app, []);
await app.close();
const types = astToString(await openapiTypescript(JSON.stringify(document)));
const content = `/** Generated from the OpenAPI document by \`${COMMAND}\`. Do not edit. */\n${types}`;

if (!process.argv.includes('--check')) {
  writeFileSync(FILE, content);
} else if (readFileSync(FILE, 'utf8') !== content) {
  console.error(`${FILE} is not current: the OpenAPI document has changed. Run ${COMMAND}.`);
  process.exitCode = 1;
}
