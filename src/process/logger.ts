/** The JSON log of a process, with tokens and passwords redacted. */
import { type Logger, pino } from 'pino';

export function createLogger(process: string, level: string): Logger {
  return pino({
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: {
      paths: [
        'req.headers.authorization',
        'headers.authorization',
        'authorization',
        'token',
        'password',
      ],
      censor: '[redacted]',
    },
  });
}
