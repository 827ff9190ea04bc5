/** Node's `http`. Importing it would also load fetch and WebSocket, which costs each process 80 ms at its start. */
export const http = process.getBuiltinModule('node:http');
