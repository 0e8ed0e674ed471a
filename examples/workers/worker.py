#!/usr/bin/env python3
"""A worker for remuda: answers HTTP on the sockets it is given, says that it is ready, goes when it is asked.

    remuda run -b 127.0.0.1:8080 -n 4 --ack manual -- python3 worker.py
"""
import os
import select
import signal
import socket


def listeners():
    """The sockets at descriptor 3 and up, as sd_listen_fds(3) has them."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=number) for number in range(3, 3 + count)]


def notify(text):
    """One datagram to the manager, as sd_notify(3) has it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


def answer(client):
    client.settimeout(5)
    try:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = client.recv(65536)
            if not piece:
                return
            request += piece
        body = f"python {os.getpid()}\n".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body)
    except OSError:
        pass  # The client is gone.
    finally:
        client.close()


def main():
    # The signal writes a byte that the loop waits for: no connection that was accepted is ever left half way.
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGTERM, lambda *_: None)
    shared = listeners()
    for listener in shared:
        listener.setblocking(False)
    notify("READY=1")
    while True:
        ready, _, _ = select.select([wake, *shared], [], [])
        if wake in ready:
            notify("STOPPING=1")
            return
        for listener in ready:
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                continue  # Another worker was faster.
            answer(client)


main()
