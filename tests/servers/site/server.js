// The least server on an inherited socket: / is answered at once, /slow in two parts, with two seconds between.
"use strict";

const server = require("http").createServer((request, response) => {
  response.writeHead(200, { "Content-Length": 3 });
  if (request.url === "/slow") {
    response.write("o");
    setTimeout(() => response.end("k\n"), 2000);
  } else {
    response.end("ok\n");
  }
});

server.listen({ fd: 3 });

// Takes no more connections; the process ends when the last one is closed.
process.on("SIGTERM", () => server.close());
