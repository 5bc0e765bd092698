"""Connections to the sockets of models' processes, which may have put another's in the place of their own."""

from __future__ import annotations

import asyncio
import os
import socket

from moorage.replica.process import peer_uid


async def connect(address: str) -> socket.socket:
    """A non-blocking socket, connected to the Unix socket at `address`.

    Whoever listens must be the user to whom the folder of the socket belongs. That user writes in it, and might
    have made the socket's name a link to one that only we may reach.

    Raises:
        OSError: nobody listens, or another user.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
        if peer_uid(sock) != os.stat(os.path.dirname(address)).st_uid:
            raise PermissionError(f"behind {address} is a process of another user")
    except BaseException:
        sock.close()
        raise
    return sock
