/**
 * Node's `http`. An import would also load fetch and WebSocket at the start of each process. Compare the processor time:
 * `time node --input-type=module -e "import 'node:http'"`, and without the import.
 */
export const http = process.getBuiltinModule('node:http');
