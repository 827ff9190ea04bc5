/** The listening server of the hot path. */
import {
  App,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { portTaken } from '../process/health-server.ts';
import { type HotPathContext, registerRoutes } from './routes.ts';

export interface HotPathServer {
  port: number;
  /** Accepts no new connections. An open connection closes with its next response. */
  stopListening(): void;
  close(): void;
}

/** Throws `port_taken`. */
export async function serve(
  context: HotPathContext,
  address: { host: string; port: number; sharePort: boolean },
): Promise<HotPathServer> {
  const app = App();
  const countConnection = (_response: HttpResponse, change: number) => {
    context.load.connections += change;
  };
  app.filter(countConnection);
  registerRoutes(app, context);
  const socket = await listen(app, address);
  let isListening = true;
  const stopListening = () => {
    if (!isListening) return;
    isListening = false;
    us_listen_socket_close(socket);
  };
  return {
    port: us_socket_local_port(socket),
    stopListening,
    close: () => {
      stopListening();
      app.close();
    },
  };
}

/** uWebSockets.js accepts options after host and port, but its types declare that form without a host only. */
interface ListensExclusively {
  listen(
    host: string,
    port: number,
    options: number,
    onListening: (socket: us_listen_socket | false) => void,
  ): void;
}
const LISTEN_SHARED = 0;
const LISTEN_EXCLUSIVE = 1;

function listen(
  app: TemplatedApp,
  address: { host: string; port: number; sharePort: boolean },
): Promise<us_listen_socket> {
  const { host, port, sharePort } = address;
  return new Promise((resolve, reject) => {
    (app as unknown as ListensExclusively).listen(
      host,
      port,
      sharePort ? LISTEN_SHARED : LISTEN_EXCLUSIVE,
      (socket) => {
        if (socket) resolve(socket);
        else reject(portTaken(host, port, 'HOT_PATH_PORT'));
      },
    );
  });
}
