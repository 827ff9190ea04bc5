/**
 * A Lua script and its TypeScript definition. The header of the `.lua` names its KEYS and ARGV; the definition names
 * them too, and a pair that disagrees fails when it is loaded.
 *
 * The script gets them as locals: key `newBuyers` is `key_new_buyers`, argument `minIdleMs` is `arg_min_idle_ms`, and
 * `...fields`, which can only be the last argument, is the table `arg_fields`. `--@include parts/x.lua` inserts a part
 * at that line; a part names what it NEEDS from the script or from earlier parts, and what it EXPORTS.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Fault } from '../domain/fault.ts';
import { type SaleKey, saleKey } from './keys.ts';

/** Replies of our scripts: no nil, no float. */
export type Reply = string | number | Reply[];

/** Large arguments are bytes: making them here costs less than in the client library. */
export type ScriptArgument = string | number | Buffer;

export interface Script<Args extends unknown[], Result> {
  name: string;
  source: string;
  sha1: string;
  keys: readonly SaleKey[];
  /** Whether the reply shows decisions to a client; under `DURABILITY=replicated`, replicas must have them first. */
  needsReplicas: boolean;
  /** The arguments after the fence, which is the first argument of every script. */
  encode: (...args: Args) => ScriptArgument[];
  /** Throws a Fault `reply_malformed` for an unknown reply. */
  decode: (reply: Reply, saleId: string, ...args: Args) => Result;
}

export function defineScript<Args extends unknown[], Result>(definition: {
  /** The `.lua` file; its name is the script's name. */
  source: URL;
  keys: readonly SaleKey[];
  /** As in the header, without the fence. */
  args: string;
  /** Default: true unless the script is declared `no-writes`. */
  needsReplicas?: boolean;
  encode: (...args: Args) => ScriptArgument[];
  decode: (reply: Reply, saleId: string, ...args: Args) => Result;
}): Script<Args, Result> {
  const name = basename(definition.source.pathname, '.lua');
  const file = readFileSync(definition.source, 'utf8');
  const args = `fence ${definition.args}`.trim();
  requireHeader(file, name, 'KEYS', definition.keys.join(' '));
  requireHeader(file, name, 'ARGV', args);
  const source = withLocals(file, name, definition.keys, args.split(' '));
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

/** The script as Redis runs it: after its first line the locals for KEYS and ARGV, parts in place of their includes. */
function withLocals(
  file: string,
  name: string,
  keys: readonly string[],
  args: readonly string[],
): string {
  const locals = new Map<string, string>();
  for (const [i, key] of keys.entries()) locals.set(`key_${snakeCase(key)}`, `KEYS[${i + 1}]`);
  for (const [i, arg] of args.entries()) {
    if (arg.startsWith('...'))
      locals.set(`arg_${snakeCase(arg.slice(3))}`, `{ unpack(ARGV, ${i + 1}) }`);
    else locals.set(`arg_${snakeCase(arg)}`, `ARGV[${i + 1}]`);
  }
  const source = includeParts(file, name, new Set(locals.keys()));
  const code = source.replaceAll(/--.*$/gm, '').replaceAll(/'[^'\n]*'/g, '');
  for (const [word] of code.matchAll(/\b(?:(?:key|arg)_\w+|KEYS|ARGV)\b/g)) {
    if (!locals.has(word))
      throw mismatch(`${name}.lua uses ${word}, which its header does not name`);
  }
  const firstLineEnd = source.indexOf('\n') + 1;
  const block = `local ${[...locals.keys()].join(', ')} = ${[...locals.values()].join(', ')}\n`;
  return source.slice(0, firstLineEnd) + block + source.slice(firstLineEnd);
}

function includeParts(file: string, name: string, provided: Set<string>): string {
  return file.replaceAll(/^--@include (\S+)$/gm, (_line, path: string) => {
    const part = readFileSync(new URL(path, import.meta.url), 'utf8');
    for (const needed of headerNames(part, 'NEEDS')) {
      if (!provided.has(needed))
        throw mismatch(`${path} needs ${needed}, which ${name}.lua does not provide`);
    }
    for (const exported of headerNames(part, 'EXPORTS')) {
      const isDefined = new RegExp(`^local (function |(\\w+, )*)${exported}\\b`, 'm').test(part);
      if (!isDefined) throw mismatch(`${path} does not define ${exported}, which it exports`);
      provided.add(exported);
    }
    return part;
  });
}

/** The names after a label in a part's header, up to the end of the header or the next label. */
function headerNames(part: string, label: string): string[] {
  const names = new RegExp(`^-- ${label} +(.*(?:\\n-- {4,}.*)*)`, 'm').exec(part)?.[1] ?? '';
  return names.split(/[\s-]+/).filter((name) => name !== '');
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function keysOf(script: { keys: readonly SaleKey[] }, saleId: string): string[] {
  return script.keys.map((key) => saleKey(saleId, key));
}

export function malformed(script: string, reply: unknown): Fault {
  return new Fault('reply_malformed', `${script} replied ${JSON.stringify(reply)?.slice(0, 200)}`);
}

function mismatch(detail: string): Fault {
  return new Fault('script_mismatch', detail);
}

function requireHeader(source: string, name: string, label: string, expected: string): void {
  const found = new RegExp(`^-- ${label}\\s+(.*)$`, 'm').exec(source)?.[1]?.trim();
  if (found !== expected) {
    throw mismatch(
      `${name}.lua names its ${label} "${found}", ${name}.ts names them "${expected}"`,
    );
  }
}
