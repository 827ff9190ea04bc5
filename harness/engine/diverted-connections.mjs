/**
 * Loaded into a process before everything else (`node --import`), it diverts the process' connections: DIVERTED_PORTS is a
 * JSON object from the ports that servers announce to the ports that this process shall connect to instead, on the
 * loopback interface. So a proxy can stand between this process and a server that every process finds at one address.
 */
import net from 'node:net';

const ports = new Map(Object.entries(JSON.parse(process.env.DIVERTED_PORTS ?? '{}')));
const connect = Reflect.get(net.Socket.prototype, 'connect');

net.Socket.prototype.connect = function (first, ...others) {
  // Node's own callers pass their normalized arguments as an array that it recognizes, so the array stays.
  const options = Array.isArray(first) ? first[0] : first;
  const port = ports.get(String(options?.port));
  if (port === undefined) return connect.call(this, first, ...others);
  const diverted = { ...options, port };
  if (!Array.isArray(first)) return connect.call(this, diverted, ...others);
  first[0] = diverted;
  return connect.call(this, first, ...others);
};
