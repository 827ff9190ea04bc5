/**
 * A Lua script and its TypeScript definition, held together: the header of the `.lua` names its KEYS and ARGV, the
 * definition names them too, and a pair that disagrees fails when it is loaded, not when it is called.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Fault } from '../domain/fault.ts';
import { type SaleKey, saleKey } from './keys.ts';

/** What Redis can answer to our scripts: no nil, no float. */
export type Reply = string | number | Reply[];

/** Bytes where they are many: making them here costs less than having the library do it. */
export type ScriptArgument = string | number | Buffer;

export interface Script<Args extends unknown[], Result> {
  name: string;
  source: string;
  sha1: string;
  keys: readonly SaleKey[];
  /** Whether somebody is told what it answers, as decided: then replicas have to have it, where that is promised. */
  needsReplicas: boolean;
  /** The arguments that follow the fence, which every script takes first. */
  encode: (...args: Args) => ScriptArgument[];
  /** Rejects with a Fault `reply_malformed` what it does not understand. */
  decode: (reply: Reply, saleId: string, ...args: Args) => Result;
}

export function defineScript<Args extends unknown[], Result>(definition: {
  /** The `.lua` file; its name is the script's name. */
  source: URL;
  keys: readonly SaleKey[];
  /** As the header has them, without the fence. */
  args: string;
  /** Unless said otherwise, whatever is not declared `no-writes`. */
  needsReplicas?: boolean;
  encode: (...args: Args) => ScriptArgument[];
  decode: (reply: Reply, saleId: string, ...args: Args) => Result;
}): Script<Args, Result> {
  const name = basename(definition.source.pathname, '.lua');
  const source = readSource(definition.source);
  requireHeader(source, name, 'KEYS', definition.keys.join(' '));
  requireHeader(source, name, 'ARGV', `fence ${definition.args}`.trim());
  return {
    name,
    source,
    sha1: createHash('sha1').update(source).digest('hex'),
    keys: definition.keys,
    needsReplicas: definition.needsReplicas ?? !/^#!lua .*\bno-writes\b/.test(source),
    encode: definition.encode,
    decode: definition.decode,
  };
}

/** A script with the parts that it includes in the place of their `--@include` lines. */
function readSource(file: URL): string {
  return readFileSync(file, 'utf8').replaceAll(/^--@include (\S+)$/gm, (_line, part: string) =>
    readSource(new URL(part, import.meta.url)),
  );
}

export function keysOf(script: { keys: readonly SaleKey[] }, saleId: string): string[] {
  return script.keys.map((key) => saleKey(saleId, key));
}

export function malformed(script: string, reply: unknown): Fault {
  return new Fault('reply_malformed', `${script} answered ${JSON.stringify(reply)?.slice(0, 200)}`);
}

function requireHeader(source: string, name: string, label: string, expected: string): void {
  const found = new RegExp(`^-- ${label}\\s+(.*)$`, 'm').exec(source)?.[1]?.trim();
  if (found !== expected) {
    throw new Fault(
      'script_mismatch',
      `${name}.lua names its ${label} "${found}", ${name}.ts names them "${expected}"`,
    );
  }
}
