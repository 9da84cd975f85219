"""However a program with an embedded Triton ends, no process, temporary folder or shared memory stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.embedded_triton.conftest import becomes_true

IN_A_PROGRAM = """
import sys, time
from pathlib import Path
from server.embedded import EmbeddedTriton
with EmbeddedTriton(Path(sys.argv[2])) as triton:
    print("ready:", triton.grpc_url, flush=True)
    for _ in range(600):  # a signal just before a sleep does not shorten it
        time.sleep(0.1)
"""
FORKED_PROGRAM = IN_A_PROGRAM.replace(
    'print("ready:", triton.grpc_url',
    'import os; fork = os.fork(); fork or time.sleep(60) or os._exit(0); print("ready:", fork',
)
SERVE = ["-m", "server.serve", "--grpc-port", "0", "--metrics-port", "0", "--model-repository"]
MARK = "REVIEWLENS_TEST_MARK"


@dataclass
class Program:
    """A running program with an embedded Triton; its temporary folder and its descendants are found by a mark."""

    process: subprocess.Popen[str]
    mark: str
    temporary: Path
    prefix: str
    ready_line: str

    def descendants(self) -> dict[int, str]:
        """Process id and command of all living processes that inherited the mark."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return found

    def descendant(self, name: str) -> int:
        return next(pid for pid, command in self.descendants().items() if command.split(" ")[0].endswith(name))

    def leftovers(self) -> list[str]:
        """Everything that should be gone."""
        shared_memory = Path("/dev/shm").glob(f"{self.prefix}*")  # noqa: S108 - only listed
        return [*self.descendants().values(), *map(str, self.temporary.iterdir()), *map(str, shared_memory)]

    def environments(self) -> list[str]:
        """Where the Python backend keeps environments: within the temporary folder, so that they end with it."""
        return [path.name for path in self.temporary.glob("*/python_env_*")]


def _heed_interrupts() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def start(shared_repository: Path, tmp_path: Path) -> Iterator[Callable[[list[str]], Program]]:
    """Starts Python with arguments and the repository's path, and returns once the server is ready."""
    processes: list[subprocess.Popen[str]] = []

    def start_program(arguments: list[str]) -> Program:
        mark = uuid.uuid4().hex
        process = subprocess.Popen(
            [sys.executable, *arguments, str(shared_repository)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, MARK: mark, "TMPDIR": str(tmp_path)},
            cwd=Path(__file__).parents[3],
            preexec_fn=_heed_interrupts,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready:")
        (folder,) = tmp_path.iterdir()
        program = Program(process, mark, tmp_path, folder.name.rsplit("-", 1)[0], line)
        # The program, the supervisor, the server and a stub for each of the two ONNX models; folder; shared memory.
        assert len(program.leftovers()) >= 5 + 1 + 2
        assert len(program.environments()) == 1
        return program

    yield start_program
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("arguments", [["-c", IN_A_PROGRAM, "program"], SERVE], ids=["program", "serve"])
def test_nothing_stays_after_a_signal(
    start: Callable[[list[str]], Program], arguments: list[str], number: signal.Signals
) -> None:
    program = start(arguments)
    program.process.send_signal(number)
    status = program.process.wait(20)
    if arguments is SERVE and number != signal.SIGKILL:
        assert status == 0
        assert program.process.stdout is not None
        assert program.process.stdout.read().splitlines()[-1] == "stopped"
    else:
        assert status == -number
    assert becomes_true(lambda: not program.leftovers()), program.leftovers()


def test_nothing_stays_after_the_server_crashed(start: Callable[[list[str]], Program]) -> None:
    program = start(SERVE)
    os.kill(program.descendant("tritonserver"), signal.SIGKILL)
    assert program.process.wait(20) == 1
    assert becomes_true(lambda: not program.leftovers()), program.leftovers()


def test_nothing_stays_after_the_supervisor_was_killed(start: Callable[[list[str]], Program]) -> None:
    program = start(SERVE)
    (supervisor,) = [int(pid) for pid in _children(program.process.pid)]
    os.kill(supervisor, signal.SIGKILL)
    assert program.process.wait(20) == 1
    assert becomes_true(lambda: not program.leftovers()), program.leftovers()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_server_ends_although_a_fork_of_the_dead_program_lives_on(start: Callable[[list[str]], Program]) -> None:
    program = start(["-c", FORKED_PROGRAM, "program"])
    fork = int(program.ready_line.split()[-1])
    try:
        program.process.kill()
        assert becomes_true(lambda: list(program.descendants()) == [fork]), program.descendants()
        assert not list(program.temporary.iterdir())
    finally:
        os.kill(fork, signal.SIGKILL)


def test_serve_names_address_and_models(start: Callable[[list[str]], Program]) -> None:
    program = start(SERVE)
    assert re.fullmatch(r"ready: gRPC 127\.0\.0\.1:\d+, metrics http://127\.0\.0\.1:\d+/metrics\n", program.ready_line)
    assert program.process.stdout is not None
    lines = [program.process.stdout.readline() for _ in range(3)]
    models = ["keyword_classifier", "review_analysis", "sentiment_classifier"]
    assert lines == [f"  {model} version 1: READY\n" for model in models]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model-repository", "no/such/folder"], 2, "no model with a config.pbtxt"),
        (["--grpc-port", "70000"], 2, "'70000' is not a port"),
        (["--threads", "0"], 2, "'0' is not a number of threads"),
    ],
)
def test_serve_refuses_bad_options(arguments: list[str], status: int, message: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "server.serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert result.returncode == status
    assert message in result.stderr
