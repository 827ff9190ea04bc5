/** The chaos suite in short: three sales, with the schedules that these seeds draw. `npm run chaos` has the rest. */
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../chaos/run.ts';
import { seededScenario } from '../../chaos/seeded-scenario.ts';
import { MAIN_MODULE } from '../../src/stack/home.ts';
import { startPostgres, type TestPostgres } from '../support/servers.ts';
