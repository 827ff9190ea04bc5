/** Server-Sent Events: https://html.spec.whatwg.org/multipage/server-sent-events.html. */

export const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  // For nginx, which would collect events in a buffer.
  'X-Accel-Buffering': 'no',
};

/** JSON has no line breaks, so the data is one line. */
export function eventText(event: string, data: object): Buffer {
  return Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}
