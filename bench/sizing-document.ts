/** Puts the sums of sizing.ts into the document, from the results that are kept. */
import { readResults } from './results.ts';
import { costsOf, rushText, sizingText } from './sizing.ts';
import { putBetweenMarkers } from './tables.ts';

const DOCUMENT = 'docs/PERFORMANCE.md';

/** Leaves the document as it is, and tells why, while anything that the sums need was never measured. */
export async function writeSizing(): Promise<void> {
  const found = costsOf({
    throughput: readResults('throughput.json'),
    growth: readResults('growth.json'),
  });
  if ('missing' in found) {
    console.log(`No sizing without ${found.missing.join(', ')}: npm run bench, bench:growth`);
  } else {
    await putBetweenMarkers(DOCUMENT, 'sizing', sizingText(found.costs));
    await putBetweenMarkers(DOCUMENT, 'simulated rush', rushText(found.costs));
  }
}
