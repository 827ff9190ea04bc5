/**
 * A Lua script and its TypeScript definition. The header of the `.lua` names its KEYS and ARGV; the definition names
 * them too, and a pair that disagrees fails when it is loaded.
 *
 * The script gets them as locals: key `newBuyers` is `key_new_buyers`, argument `minIdleMs` is `arg_min_idle_ms`, and
 * `...fields`, which can only be the last argument, is the table `arg_fields`. `--@include sale stock` inserts those of
 * `parts/` at that line; a part names what it NEEDS from the script or from earlier parts, and what it EXPORTS.
 *
 * A script that runs often has several such lines. From each one after the first, the rest of the script is a function of
 * its own: Lua makes a closure by searching all captured locals of the running function.
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

/** Of each word; none if there are no words. */
type OutcomeOf<Word> = Word extends string ? { outcome: Word } : never;

export function defineScript<Args extends unknown[], const Result, Word extends string = never>({
  source: url,
  keys,
  args,
  encode,
  words = [],
  decode,
  needsReplicas,
}: {
  /** The `.lua` file; its name is the script's name. */
  source: URL;
  keys: readonly SaleKey[];
  /** As in the header, without the fence. */
  args: string;
  /** Default: true unless the script is declared `no-writes`. */
  needsReplicas?: boolean;
  encode: (...args: Args) => ScriptArgument[];
  /** Outcomes that the word alone describes; the result is `{ outcome: word }`. */
  words?: readonly Word[];
  /** Decodes the other replies; a reply that is no array is the only element. Undefined: an unknown reply. */
  decode: (reply: Reply[], saleId: string, ...args: Args) => Result | undefined;
}): Script<Args, Result | OutcomeOf<Word>> {
  const name = basename(url.pathname, '.lua');
  const source = scriptSource(readFileSync(url, 'utf8'), name, keys, `fence ${args}`.trim());
  return {
    source,
    sha1: createHash('sha1').update(source).digest('hex'),
    keys,
    needsReplicas: needsReplicas ?? !/^#!lua .*\bno-writes\b/.test(source),
    encode,
    decode: (reply, saleId, ...request) => {
      const values = Array.isArray(reply) ? reply : [reply];
      const outcome = words.find((word) => word === values[0]);
      if (outcome !== undefined) return { outcome } as OutcomeOf<Word>;
      const result = decode(values, saleId, ...request);
      if (result === undefined) throw malformed(name, reply);
      return result;
    },
  };
}

/** Decodes replies that are one of these words. */
export function oneOf<Word extends string>(...words: Word[]): (reply: Reply[]) => Word | undefined {
  return ([reply]) => words.find((word) => word === reply);
}

/** The script as Redis runs it: after its first line the locals for KEYS and ARGV, parts in place of their includes. */
function scriptSource(file: string, name: string, keys: readonly string[], args: string): string {
  const locals = new Map<string, string>();
  for (const [i, key] of keys.entries()) locals.set(`key_${snakeCase(key)}`, `KEYS[${i + 1}]`);
  for (const [i, arg] of args.split(' ').entries()) {
    const value = arg.startsWith('...') ? `{ unpack(ARGV, ${i + 1}) }` : `ARGV[${i + 1}]`;
    locals.set(`arg_${snakeCase(arg.replace('...', ''))}`, value);
  }
  for (const [label, expected] of Object.entries({ KEYS: keys.join(' '), ARGV: args })) {
    const found = new RegExp(`^-- ${label}\\s+(.*)$`, 'm').exec(file)?.[1]?.trim();
    if (found !== expected) {
      throw mismatch(
        `${name}.lua names its ${label} "${found}", ${name}.ts names them "${expected}"`,
      );
    }
  }
  const source = includeParts(file, name, new Set(locals.keys()));
  const code = source.replaceAll(/--.*$/gm, '').replaceAll(/'[^'\n]*'/g, '');
  for (const [word] of code.matchAll(/\b(?:(?:key|arg)_\w+|KEYS|ARGV)\b/g)) {
    if (!locals.has(word))
      throw mismatch(`${name}.lua uses ${word}, which its header does not name`);
  }
  const block = `local ${[...locals.keys()].join(', ')} = ${[...locals.values()].join(', ')}\n`;
  return source.replace('\n', () => `\n${block}`);
}

function includeParts(file: string, name: string, provided: Set<string>): string {
  let lines = 0;
  const source = file.replaceAll(/^--@include (.+)$/gm, (_line, parts: string) => {
    const code = parts.split(' ').map((part) => includedPart(`parts/${part}.lua`, name, provided));
    if (lines++ > 0) code.unshift('return (function()');
    return code.join('\n');
  });
  return source + 'end)()\n'.repeat(Math.max(0, lines - 1));
}

function includedPart(path: string, name: string, provided: Set<string>): string {
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
