"""JSON lines over a socket, with file descriptors where one goes along, and a time limit on every answer."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

_CHUNK_BYTES = 1 << 20


class Channel:
    """One end of a conversation in which a line is answered by a line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = b""
        self._descriptors: list[int] = []

    def send(
        self, message: Mapping[str, Any], *, descriptor: int | None = None, timeout_s: float | None = None
    ) -> None:
        """Send one message.

        Raises:
            OSError: nobody is at the other end, or it takes nothing within the time.
        """
        line = json.dumps(message).encode() + b"\n"
        self._end.settimeout(timeout_s)
        if descriptor is not None:
            socket.send_fds(self._end, [line], [descriptor])
        else:
            self._end.sendall(line)

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: none came within the time.
            EOFError: the other end is gone.
        """
        self._end.settimeout(timeout_s)
        pieces = [self._received]
        while b"\n" not in pieces[-1]:
            data, descriptors, _, _ = socket.recv_fds(self._end, _CHUNK_BYTES, 1)
            self._descriptors += descriptors
            if not data:
                raise EOFError
            pieces.append(data)
        line, _, self._received = b"".join(pieces).partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def take_descriptor(self) -> int:
        """The descriptor that came with the last message."""
        return self._descriptors.pop()

    def close(self) -> None:
        """Close this end, and descriptors that nobody took."""
        self._end.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
