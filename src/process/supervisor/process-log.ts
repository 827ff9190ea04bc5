/**
 * Writes the output of one child to one file. Each line starts with the pid, because a restarted child continues in the
 * same file. The file of the previous run is kept beside it.
 */
import { createWriteStream, existsSync, renameSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Enough for a stack trace in the explanation of a failure. */
const LAST_LINES_MAX = 25;

export class ProcessLog {
  readonly path: string;
  readonly #file: WriteStream;
  #lastLines: string[] = [];

  constructor(directory: string, name: string) {
    this.path = join(directory, `${name}.log`);
    if (existsSync(this.path)) renameSync(this.path, join(directory, `${name}.previous.log`));
    this.#file = createWriteStream(this.path, { flags: 'a', mode: 0o600 });
    // A full disk loses lines of the log, but must not stop the supervisor.
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
