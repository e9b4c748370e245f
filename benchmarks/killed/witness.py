"""Sees what leaves a node, in a process of its own: notes each header, on disk, before it reads what follows.

    python witness.py SOCKET FILE

A message is a line (run, round, SHA-256 and length of the update) and the update. The file gets a line for each header,
so that an update counts as seen though its node was killed in the middle of it, and ``end`` when a node has gone.
"""

import os
import socket
import sys
from pathlib import Path
from typing import BinaryIO

END = "end"


def watch(address: str, path: Path) -> None:
    """Serve one node after another, for ever."""
    with socket.socket(socket.AF_UNIX) as server, path.open("a", encoding="ascii") as notes:
        server.bind(address)
        server.listen(8)
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as stream:
                _listen(stream, notes)
            _note(notes, END)


def _listen(stream: BinaryIO, notes: object) -> None:
    while True:
        try:
            line = stream.readline()
        except ConnectionError:
            return
        if not line.endswith(b"\n"):
            return
        _note(notes, line.decode("ascii").strip())
        stream.read(int(line.split()[-1]))


def _note(notes: object, line: str) -> None:
    notes.write(line + "\n")  # type: ignore[attr-defined]
    notes.flush()  # type: ignore[attr-defined]
    os.fsync(notes.fileno())  # type: ignore[attr-defined]


if __name__ == "__main__":
    watch(sys.argv[1], Path(sys.argv[2]))
