/** What a process says about itself at `/metrics`. */

/** A metric of any name, summed over its samples. */
export async function metric({ port }: { port: number }, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const samples = text.matchAll(new RegExp(`^${name}[ {].*?(\\S+)$`, 'gm'));
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0);
}
