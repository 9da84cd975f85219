"""Runs a server for a parent process and leaves nothing behind, whatever ends first.

Started as a script of its own, in its own session, with a JSON `Job` as its argument. It copies the job's files into
a temporary folder, starts the command there and waits until the command ends, standard input closes or the parent is
gone. Even a parent killed with SIGKILL closes its end of the pipe, so the clean-up does not depend on it.

Only the standard library: it runs with `python -I`, and starts in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.2
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lies on Linux


@dataclass(frozen=True)
class Job:
    """What to run.

    `files` maps paths below the temporary folder to the files to copy there; `{folder}` in `command` becomes that
    folder, and the command starts in its `working_folder`. Within the copies, `edits` (file, old, new) replaces the
    bytes `old` by as many `new` ones. Shared memory whose name begins with `prefix` is removed
    at the end. `drain_s` is how long the command may take to end by itself after SIGTERM; 0 kills it at once.
    """

    parent: int
    prefix: str
    command: list[str]
    files: dict[str, str]
    edits: list[tuple[str, str, str]]
    working_folder: str
    drain_s: float

    def to_json(self) -> str:
        """The job as the supervisor's argument."""
        return json.dumps(asdict(self))


def run(job: Job) -> int:
    """Run the job and clean up; its exit status, 0 when it was told to stop."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of a crashed server come here to be reaped
    folder = Path(tempfile.mkdtemp(prefix=f"{job.prefix}-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        for name, source in job.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)  # with its mode: the stub stays executable
        for name, old, new in job.edits:
            (folder / name).write_bytes((folder / name).read_bytes().replace(old.encode(), new.encode()))
        server = subprocess.Popen(
            [part.replace("{folder}", str(folder)) for part in job.command],
            stdin=subprocess.DEVNULL,
            cwd=folder / job.working_folder,
            process_group=0,
            preexec_fn=_die_with_supervisor(prctl),
        )
        while server.poll() is None and not _told_to_stop(job.parent):
            pass
        return server.returncode or 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if server is not None:
            _end(server, job.drain_s)
        remove_leftovers(job.prefix)


def kill_orphans(prefix: str) -> None:
    """Kill what the job's command started from the temporary folder: processes that hang do not end with it."""
    begin = f"{tempfile.gettempdir()}/{prefix}-".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            if (folder / "cmdline").read_bytes().startswith(begin):
                os.kill(int(folder.name), signal.SIGKILL)


def remove_leftovers(prefix: str) -> None:
    """Remove the temporary folder and the shared memory of the job with this prefix."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _die_with_supervisor(prctl: Callable[[int, int], int]) -> Callable[[], None]:
    """What the new process runs first. The signal follows the supervisor's only thread, so it cannot come early."""

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask_kernel


def _told_to_stop(parent: int) -> bool:
    """Wait for one poll interval; True when the pipe closed or another process has become the parent.

    The second check is for a parent that forked: its child holds the pipe open after it died.
    """
    readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
    return bool(readable) or os.getppid() != parent


def _end(server: subprocess.Popen[bytes], drain_s: float) -> None:
    """End the server with all processes that it started, and reap them."""
    if drain_s > 0 and server.poll() is None:
        server.terminate()
        try:
            server.wait(drain_s)
        except subprocess.TimeoutExpired:
            print(f"supervisor: still running {drain_s} s after SIGTERM, killed", flush=True)
    with contextlib.suppress(ProcessLookupError):  # all of the group may have ended by itself
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    with contextlib.suppress(ChildProcessError):  # raised when no orphan is left to reap
        while True:
            os.waitpid(-1, 0)


def main() -> int:
    """Entry point of the script."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        return run(Job(**json.loads(sys.argv[1])))
    except OSError as error:
        print(f"supervisor: {error}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
