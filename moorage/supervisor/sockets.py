"""The server's port: one listening socket a gateway worker, all on the same address."""

from __future__ import annotations

import errno
import socket

_BACKLOG = 4096


class CannotListen(Exception):
    """The address cannot be used; the message says why and what to do."""


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port; port 0 chooses a free one.

    The sockets share the port by SO_REUSEPORT: the kernel spreads connections over them, and those of a worker
    that is being restarted wait in its socket's queue, because the supervisor keeps it open.

    Raises:
        CannotListen: the port is taken, not allowed, or the host is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotListen(f"cannot listen on host {host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    try:
        if port:
            # With SO_REUSEPORT on, another program's socket with it would be joined instead of noticed.
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
        for _ in range(count):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            address = one.getsockname()
        for one in sockets:
            one.listen(_BACKLOG)
            one.setblocking(False)
    except OSError as error:
        for one in sockets:
            one.close()
        raise CannotListen(_reason(host, port, error)) from error
    return sockets


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; choose one with --port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs rights that this user lacks; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose another with --host"
    return f"cannot listen on {host} port {port}: {error.strerror}"
