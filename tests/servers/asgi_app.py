"""The least ASGI application, for uvicorn: /slow takes three seconds, everything else no time."""

import asyncio

import uvicorn


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError(f"{scope['type']} is not spoken here")
    if scope["path"] == "/slow":
        await asyncio.sleep(3)
    body = b"ok\n"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# uvicorn, when it is asked to stop, at once closes the connections whose first request it has not read yet. Under
# full load that resets one request in several stops, whoever the manager is. Mended by a moment between accepting no
# more and closing:
async def read_before_closing(server, sockets=None, shutdown=uvicorn.Server.shutdown):
    for listener in server.servers:
        listener.close()
    await asyncio.sleep(0.1)
    await shutdown(server, sockets)


uvicorn.Server.shutdown = read_before_closing
