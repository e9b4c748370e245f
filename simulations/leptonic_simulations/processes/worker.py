"""A worker of the processes engine: answers requests of any client, one after another, until its pipe closes.

Started with two file descriptors as arguments, of tasks and of replies. A task is one line of JSON, a reply
another; models and contributions pass through shared memory. No object is pickled. When its parent closes the
pipe or is gone, a worker ends at once, in the midst of whatever it does: what a client keeps is written so that
this may happen at any instant.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO

from pydantic import BaseModel, ConfigDict

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.shared_memory import SharedBytes
from leptonic.wire import Reply, Request
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.processes.memory import SharedArray, attach

__all__ = ["Begin", "Done", "Task", "main"]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Begin(_Line):
    """The first line: what the worker needs once.

    experiment: as JSON, engine settings included. folder: the clients' home. rows: all clients' rows, one after
    another, and where each client's end; None where each client draws its rows by itself. content: descriptor
    and length of the memory for what the coordinator sends. slots: the same for answers, one after another.
    """

    experiment: str
    folder: str
    features: SharedArray
    labels: SharedArray
    rows: tuple[SharedArray, SharedArray] | None
    content: tuple[int, int]
    slots: tuple[int, int]


class Task(_Line):
    """One request. length: of the content. start: where in the slots the answer goes."""

    request: Request
    length: int
    start: int


class Done(_Line):
    """One reply. start, length: where the answer is."""

    reply: Reply
    start: int
    length: int


def main() -> None:
    """Work until the parent closes the pipe, or is gone."""
    lines = _lines(os.fdopen(int(sys.argv[1]), "rb"))
    begin = Begin.model_validate_json(next(lines), strict=False)
    experiment = from_mapping(json.loads(begin.experiment))
    clients = SimulatedClients(experiment, Path(begin.folder), _data(begin, experiment), alone=False)
    with suppress(BrokenPipeError):
        _work(clients, begin, lines, os.fdopen(int(sys.argv[2]), "wb", buffering=0))


def _lines(pipe: IO[bytes]) -> Iterator[bytes]:
    """What the parent sends. A thread waits for it, so that the end is seen whatever is being worked on."""
    come: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in pipe:
            come.put(line)
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        yield come.get()


def _work(clients: SimulatedClients, begin: Begin, lines: Iterator[bytes], replies: IO[bytes]) -> None:
    content, slots = SharedBytes(begin.content[1], begin.content[0]), SharedBytes(begin.slots[1], begin.slots[0])
    for line in lines:
        task = Task.model_validate_json(line)
        reply, answer = clients.respond(task.request, content.view[: task.length])
        slots.view[task.start : task.start + len(answer)] = answer
        done = Done(reply=reply, start=task.start, length=len(answer))
        replies.write(done.model_dump_json().encode() + b"\n")


def _data(begin: Begin, experiment: Experiment) -> FederatedData:
    features, labels = attach(begin.features), attach(begin.labels)
    packed = (attach(begin.rows[0]), attach(begin.rows[1])) if begin.rows else None
    return FederatedData.of_arrays(experiment, features, labels, packed)
