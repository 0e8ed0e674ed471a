// A worker for remuda: answers HTTP on the sockets it is given, says that it is ready, goes when it is asked.
//
//     remuda run -b 127.0.0.1:8080 -n 4 --ack manual -- node worker.js
//
// Node has no datagrams on Unix sockets, so it acks by the control socket: one line of JSON.
'use strict';
const http = require('node:http');
const net = require('node:net');

// The number of sockets at descriptor 3 and up, as sd_listen_fds(3) has it.
const ours = process.env.LISTEN_PID === String(process.pid);
const count = ours ? Number(process.env.LISTEN_FDS) : 0;

let stopping = false;

const server = http.createServer((_request, response) => {
  // Clients that would keep their connection are sent away when it is time to go.
  if (stopping) response.setHeader('Connection', 'close');
  response.end(`javascript ${process.pid}\n`);
});
function ack() {
  const path = process.env.EINHORN_SOCK_PATH;
  if (!path) return;
  const socket = net.connect(path.startsWith('@') ? `\0${path.slice(1)}` : path);
  socket.on('error', (error) => console.error(`cannot ack: ${error.message}`));
  socket.end('{"command":"worker:ack"}\n');
}

const servers = [];
let open = 0;
for (let number = 3; number < 3 + count; number++) {
  const listener = number === 3 ? server : http.createServer(server.listeners('request')[0]);
  listener.listen({ fd: number }, () => {
    open += 1;
    if (open === count) ack();
  });
  servers.push(listener);
}

process.on('SIGTERM', () => {
  stopping = true;
  // Stops accepting, finishes what it has begun; the process ends when nothing is left to do.
  for (const listener of servers) {
    listener.close();
    listener.closeIdleConnections();
  }
});
