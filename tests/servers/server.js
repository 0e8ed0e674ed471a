// The least server on an inherited socket: /slow takes three seconds, everything else no time.
"use strict";

const server = require("http").createServer((request, response) => {
  const body = "ok\n";
  const answer = () => response.writeHead(200, { "Content-Length": body.length }).end(body);
  if (request.url === "/slow") setTimeout(answer, 3000);
  else answer();
});

server.listen({ fd: 3 });

// Takes no more connections; the process ends when the last one is closed.
process.on("SIGTERM", () => server.close());
