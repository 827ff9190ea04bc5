/**
 * Loaded into a process before everything else (`node --import`), it makes the process' own clock wrong by
 * WRONG_CLOCK_MS. The monotonic clock stays right, as on a machine whose time service has failed.
 */
const offsetMs = Number(process.env.WRONG_CLOCK_MS ?? 0);
const RealDate = Date;

globalThis.Date = class extends RealDate {
  constructor(...values) {
    if (values.length === 0) super(RealDate.now() + offsetMs);
    else super(...values);
  }

  static now() {
    return RealDate.now() + offsetMs;
  }
};
