/**
 * `npm test` has to end within minutes, so tests that repeat one check many times do it less often there.
 * `npm test -- --long` sets the variable.
 */
export const LONG_RUN_VARIABLE = 'TEST_LONG';
export const IS_LONG_RUN = process.env[LONG_RUN_VARIABLE] === '1';
