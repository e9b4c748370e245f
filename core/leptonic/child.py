"""A process of this program's own, beside it: finds the modules that it finds, and leaves Ctrl-C to it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["started"]


def started(
    module: str, *arguments: int, descriptors: Sequence[int], stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Run the `main` of a module, with numbers for arguments and these descriptors handed down.

    stdin, stdout: as for `subprocess.Popen`, without buffers. The process is to end when the pipe that feeds it does.
    """
    # -P: a file in the present folder must not pass for a module that this process found elsewhere.
    command = [sys.executable, "-P", "-c", f"from {module} import main; main()", *map(str, arguments)]
    # What this process can import (an own model, say), the other must find as well.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    # Ctrl-C goes to a whole session, and the parent decides what it means: not even the other's first imports
    # are to notice it.
    return subprocess.Popen(  # noqa: S603
        command,
        pass_fds=descriptors,
        stdin=stdin,
        stdout=stdout,
        env=environment,
        bufsize=0,
        start_new_session=True,
    )
