"""The front door as a process of its own, as an operator starts it: what can be killed, measured and looked into."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from tests.functional.command_line import ROOT, wait_until

STARTUP_S = 60.0
SERVING = health_pb2.HealthCheckResponse.SERVING


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process started, and theirs, top down."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def tritons(pid: int) -> list[int]:
    """The tritonserver processes below a process."""
    return [child for child in descendants(pid) if Path(f"/proc/{child}/comm").read_text() == "tritonserver\n"]


def signal_triton(pid: int, number: signal.Signals) -> None:
    """Signal the tritonserver below a process, and the processes that run its models."""
    for server in tritons(pid):
        for process in (*descendants(server), server):
            os.kill(process, number)


class DoorProcess:
    """`python -m server.front_door` with a `with` block around it; ready when the block begins.

    ``settings`` are flags: ``{"limits.max-reviews": 8}``. Probes of the models are frequent unless these say otherwise.
    """

    def __init__(self, repository: Path, folder: Path, settings: dict[str, Any] | None = None) -> None:
        """The log goes to a file in ``folder``. At its end no error may be in it but those of ``expected_error``."""
        self.expected_error = ""
        self._metrics_port = free_port()
        defaults: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "model-repository": repository,
            "embedded-threads": 1,
            "metrics.listen": f"127.0.0.1:{self._metrics_port}",
            "health.probe-every-s": 0.5,
            "drain-s": 30,
        }
        self._settings = defaults | (settings or {})
        self._log_file = folder / f"front-door-{self._metrics_port}.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        flags = [word for name, value in self._settings.items() for word in (f"--{name}", str(value))]
        with self._log_file.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "server.front_door", *flags],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                text=True,
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.startswith("serving on "):
            self.kill()
            raise AssertionError(self._log_file.read_text(encoding="utf-8"))
        self.address = line.split()[-1]
        self.channel = grpc.insecure_channel(self.address)
        self.stub = ReviewAnalysisServiceStub(self.channel)
        wait_until(self.serving, STARTUP_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.channel.close()
        try:
            if self.alive():
                self.terminate()
                self.wait()
        finally:
            self.kill()
        if error is None:
            errors = [line["message"] for line in self.log("error")]
            if self.expected_error:
                errors = [message for message in errors if self.expected_error not in message]
            assert not errors, f"{len(errors)} errors in the log, the first of them: {errors[0]}"

    def another_channel(self, address: str = "") -> grpc.Channel:
        """A connection of its own to the server, or to an address before it."""
        return grpc.insecure_channel(address or self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._running().send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word, if it has not ended."""
        process = self._running()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit status."""
        return self._running().wait(timeout_s)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._running().poll() is None

    def serving(self) -> bool:
        """Whether it calls itself ready."""
        health = health_pb2_grpc.HealthStub(self.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
        return bool(answer.status == SERVING)

    @contextmanager
    def watched(self) -> Iterator[list[bool]]:
        """Whether it calls itself ready, now and at each change during the block."""
        seen: list[bool] = []
        changes = health_pb2_grpc.HealthStub(self.channel).Watch(health_pb2.HealthCheckRequest())

        def watch() -> None:
            with suppress(grpc.RpcError):  # the cancellation at the end
                seen.extend(change.status == SERVING for change in changes)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            wait_until(lambda: bool(seen))
            yield seen
        finally:
            changes.cancel()
            watcher.join()

    def memory(self) -> int:
        """Bytes of main memory that the process holds now, without the Triton that it may have started."""
        return 1024 * int(self._status("VmRSS").removesuffix("kB"))

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208  (each entry is looked up otherwise)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def idle(self) -> bool:
        """Whether nothing waits, nothing is computed and no call of the service is under way."""
        names = ("reviewlens_queue_rows", "reviewlens_batches_in_flight")
        return not any(map(self.metric, names)) and not self.metric(
            "reviewlens_requests_in_flight", method="reviewlens.v1.ReviewAnalysisService/Analyze"
        ) + self.metric("reviewlens_requests_in_flight", method="reviewlens.v1.ReviewAnalysisService/AnalyzeStream")

    def log(self, level: str = "") -> list[dict[str, Any]]:
        """The lines of the log, of one level or of all; those that gRPC's C++ writes are left out."""
        text = self._log_file.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in lines if level in ("", line["level"])]

    def _status(self, field: str) -> str:
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        raise KeyError(field)

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process
