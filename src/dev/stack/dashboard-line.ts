/** The last line that `npm start` and `npm run demo` print: a link that signs in to the dashboard. */
import type { StackDescription } from './stack-description.ts';

const REQUEST_MS_MAX = 5_000;

/** The line without a code if admin cannot make a link at this moment: signing in with a token is still possible. */
export async function dashboardLine(
  { adminUrl, adminToken }: StackDescription,
  stopping: AbortSignal,
): Promise<string> {
  try {
    const response = await fetch(`${adminUrl}/admin/v1/sign-in-links`, {
      method: 'POST',
      headers: { authorization: `Bearer ${adminToken}` },
      signal: AbortSignal.any([stopping, AbortSignal.timeout(REQUEST_MS_MAX)]),
    });
    const { url } = (await response.json()) as { url?: string };
    if (url !== undefined) return `dashboard   ${url}   (works once, for 5 minutes)`;
  } catch {
    // The line below says what to do.
  }
  return `dashboard   ${adminUrl}/   (sign in with the adminToken of stack.json)`;
}
