/**
 * One child's output in one file, each line prefixed with the pid it came from, because a restarted child goes on in
 * the same file. The run before is kept beside it.
 */
import { createWriteStream, existsSync, renameSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Enough for a stack trace, when a failure has to be explained. */
const LAST_LINES_MAX = 25;

export class ProcessLog {
  readonly path: string;
  readonly #file: WriteStream;
  #lastLines: string[] = [];

  constructor(directory: string, name: string) {
    this.path = join(directory, `${name}.log`);
    if (existsSync(this.path)) renameSync(this.path, join(directory, `${name}.previous.log`));
    this.#file = createWriteStream(this.path, { flags: 'a', mode: 0o600 });
    // A full disk must not stop the supervisor; the children's lines are then lost and nothing else.
    this.#file.on('error', () => {});
  }

  get lastLines(): readonly string[] {
    return this.#lastLines;
  }

  capture(output: Readable, pid: number): void {
    createInterface({ input: output }).on('line', (line) => this.write(`${pid} | ${line}`));
  }

  write(line: string): void {
    this.#file.write(`${line}\n`);
    this.#lastLines = [...this.#lastLines.slice(1 - LAST_LINES_MAX), line];
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#file.end(() => resolve()));
  }
}
