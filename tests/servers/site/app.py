"""The least application for servers of Python: / is answered at once, /slow in two parts, with two seconds between.

uvicorn and hypercorn want help to stop: see the end.
"""

import asyncio
import sys
import time

HEADERS = [("content-type", "text/plain"), ("content-length", "3")]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError(f"{scope['type']} is not spoken here")
    headers = [(name.encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await asyncio.sleep(2)
        await send({"type": "http.response.body", "body": b"k\n"})
    else:
        await send({"type": "http.response.body", "body": b"ok\n"})


def wsgi(environ, start_response):
    start_response("200 OK", HEADERS)
    if environ["PATH_INFO"] == "/slow":
        yield b"o"
        time.sleep(2)
        yield b"k\n"
    else:
        yield b"ok\n"


# Both, when they are asked to go, at once close the connections that they have accepted and not read yet. Under full
# load that costs a request in one stop or another, whoever the manager is. Mended by a moment between accepting no more
# and closing:
async def read_what_was_accepted(listeners):
    for listener in listeners:
        asyncio.get_running_loop().remove_reader(listener)
    await asyncio.sleep(0.1)


if "uvicorn" in sys.modules:
    import uvicorn

    async def shutdown(server, sockets=None, close=uvicorn.Server.shutdown):
        await read_what_was_accepted(listener for one in server.servers for listener in one.sockets)
        await close(server, sockets)

    uvicorn.Server.shutdown = shutdown

if "hypercorn" in sys.modules:
    import hypercorn.asyncio.run as run

    async def raise_shutdown(asked_to_go, close=run.raise_shutdown):
        await asked_to_go()
        await read_what_was_accepted([3])
        await close(lambda: asyncio.sleep(0))

    run.raise_shutdown = raise_shutdown
