/**
 * The upper bound: uWebSockets.js reads the same headers and body as the engine, and guards against aborts. It always
 * returns the bytes in RESPONSE, which are the engine's response.
 */
import { App, us_listen_socket_close } from 'uWebSockets.js';
import { runUntilStopped } from '../../src/process/lifecycle.ts';

export interface ConstantResponse {
  status: string;
  headers: [name: string, value: string][];
  body: string;
}

const HEADERS_READ = ['idempotency-key', 'authorization', 'x-request-id', 'traceparent'];

await runUntilStopped(async () => {
  const { status, headers, body } = JSON.parse(process.env.RESPONSE!) as ConstantResponse;
  let bytesRead = 0;
  const app = App();
  app.get('/readyz', (response) => {
    response.end(`read ${bytesRead} bytes`);
  });
  app.post('/v1/sales/:saleId/buy', (response, request) => {
    let isAborted = false;
    response.onAborted(() => {
      isAborted = true;
    });
    bytesRead += request.getParameter(0)!.length;
    for (const name of HEADERS_READ) bytesRead += request.getHeader(name).length;
    const respond = () => {
      response.writeStatus(status);
      for (const [name, value] of headers) response.writeHeader(name, value);
      response.end(body);
    };
    const contentLength = request.getHeader('content-length');
    if (contentLength === '' || contentLength === '0') {
      respond();
      return;
    }
    let read: Buffer | undefined;
    response.onData((chunk, isLast) => {
      const copy = Buffer.from(new Uint8Array(chunk));
      read = read === undefined ? copy : Buffer.concat([read, copy]);
      if (!isLast || isAborted) return;
      bytesRead += read.length;
      respond();
    });
  });
  const socket = await new Promise<Parameters<typeof us_listen_socket_close>[0]>(
    (resolve, reject) => {
      app.listen('127.0.0.1', Number(process.env.PORT), (listening) => {
        if (listening) resolve(listening);
        else reject(new Error(`port ${process.env.PORT} is not free`));
      });
    },
  );
  return {
    close: async () => {
      us_listen_socket_close(socket);
      app.close();
    },
  };
});
