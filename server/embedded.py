"""The embedded Triton: a real tritonserver on loopback ports, started and stopped with a `with` block.

For development, tests and command-line use. Its binary predates security fixes of 2025, so it listens on 127.0.0.1
only and has no HTTP endpoint; production runs NVIDIA's current image on the same model repository.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from client.errors import EmbeddedTritonError
from server import supervisor
from server.triton_log import is_fatal, port_in_use, startup_errors, without_tables
from server.wheel import TritonWheel

LOOPBACK = "127.0.0.1"
PORT_ATTEMPTS = 4
# Nobody needs these, so nobody knows the key. The Python backend's shared memory is what CVE-2025-23319, 23320 and
# 23334 are reached through: without the protocol no client can register a region.
RESTRICTED_PROTOCOLS = "shared-memory,trace,logging"
LOG_LINES_KEPT = 5000
LOG_LINES_SHOWN = 12
LOG_LINE_LENGTH = 240
SIGNAL_CHECK_S = 1.0
# Without this a client would send loopback calls to the proxy of the environment.
CHANNEL_ARGUMENTS = [("grpc.enable_http_proxy", 0)]


class EmbeddedTriton:
    """A Triton server for a model repository, ready when `start` returns.

    `stop`, the end of the `with` block, or the end of this process, even by SIGKILL, ends the server and removes its
    processes, shared memory and temporary folder.

    Args:
        repository: folder of the models; all of them are loaded once, and must load.
        startup_timeout_s: how long loading may take, in seconds.
        log_verbose: let Triton log each request.
        threads: onnxruntime threads per model instance; None leaves it to the models' configuration.
        grpc_port: port on 127.0.0.1; 0 takes a free one.
        metrics_port: port of the Prometheus metrics on 127.0.0.1; 0 takes a free one.
        trace_url: OTLP over HTTP collector, as http://127.0.0.1:4318/v1/traces, for spans of the requests that carry a
            `traceparent`; None records none.
        drain_s: how long `stop` lets running requests finish, in seconds; 0 does not wait.
        on_log: called with each line of Triton's log, without its newline, on a thread of its own.
    """

    def __init__(
        self,
        repository: Path,
        *,
        startup_timeout_s: float = 60.0,
        log_verbose: bool = False,
        threads: int | None = None,
        grpc_port: int = 0,
        metrics_port: int = 0,
        trace_url: str | None = None,
        drain_s: float = 0.0,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self._repository = repository.resolve()
        self._startup_timeout_s = startup_timeout_s
        self._log_verbose = log_verbose
        self._threads = threads
        self._ports = (grpc_port, metrics_port)
        self._trace_url = trace_url
        self._drain_s = drain_s
        self._on_log = on_log
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._gave_up = threading.Event()
        self._id = ""
        self._process: subprocess.Popen[str] | None = None
        self._pump: threading.Thread | None = None
        self.grpc_url = ""
        self.metrics_url = ""

    @property
    def pid(self) -> int:
        """Process id of the supervisor, the root of the server's process tree.

        Raises:
            EmbeddedTritonError: the server is not running.
        """
        return self._running().pid

    def __enter__(self) -> EmbeddedTriton:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until every model is ready.

        Raises:
            EmbeddedTritonError: something is not installed, a port is taken, or a model does not load; the message
                carries the model's own error.
        """
        if self._process is not None:
            raise EmbeddedTritonError(f"the embedded Triton is running at {self.grpc_url} already; stop() it first")
        if not any(self._repository.glob("*/config.pbtxt")):
            raise EmbeddedTritonError(
                f"{self._repository}: no model with a config.pbtxt; give the folder that export wrote"
            )
        wheel = TritonWheel.find()
        deadline = time.monotonic() + self._startup_timeout_s
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._launch(wheel)
                self._wait_until_ready(deadline)
            except EmbeddedTritonError:
                self.stop()
                # A free port can be taken by another program before Triton binds it: then try others.
                if attempt == PORT_ATTEMPTS or not port_in_use(self._log):
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """Stop the server and wait until nothing of it is left; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in filter(None, [process.stdin]):
            stream.close()  # the supervisor's sign to end
        try:
            process.wait(self._drain_s + 10)
        except subprocess.TimeoutExpired:
            process.kill()  # takes the server with it
            process.wait()
        killed = process.returncode < 0  # then the supervisor has not cleaned up
        if killed:
            supervisor.kill_orphans(self._id)
        if self._pump is not None:
            self._pump.join()
        for stream in filter(None, [process.stdout]):
            stream.close()
        if killed:
            supervisor.remove_leftovers(self._id)

    def wait(self) -> None:
        """Block until the server ends by itself, and raise.

        Raises:
            EmbeddedTritonError: the server ended; the message shows the end of its log.
        """
        process = self._running()
        # A signal that arrives between Python's last look and the system call interrupts neither: look again.
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SIGNAL_CHECK_S)
        self.stop()
        raise self._failure(f"ended with status {process.returncode}")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise EmbeddedTritonError("the embedded Triton is not running; start() it first")
        return self._process

    def _launch(self, wheel: TritonWheel) -> None:
        """Start the supervisor, which starts the server."""
        self._log.clear()
        self._gave_up.clear()
        self._id = f"reviewlens-{uuid.uuid4().hex[:16]}"
        grpc_port, metrics_port = _bind(self._ports)
        self.grpc_url, self.metrics_url = f"{LOOPBACK}:{grpc_port}", f"http://{LOOPBACK}:{metrics_port}/metrics"
        options = {
            "id": self._id,
            "model-repository": self._repository,
            "backend-directory": "{folder}",
            "backend-config": f"python,shm-region-prefix-name={self._id}",
            "model-control-mode": "none",
            "exit-on-error": "true",
            "strict-readiness": "true",
            "exit-timeout-secs": max(1, round(self._drain_s)),
            "allow-http": "false",
            "allow-vertex-ai": "false",
            "grpc-address": LOOPBACK,
            "grpc-port": grpc_port,
            "grpc-restricted-protocol": f"{RESTRICTED_PROTOCOLS}:admin-key={secrets.token_hex(16)}",
            "metrics-address": LOOPBACK,
            "metrics-port": metrics_port,
            "allow-gpu-metrics": "false",
            "pinned-memory-pool-byte-size": 0,
            "log-verbose": int(self._log_verbose),
        }
        job = supervisor.Job(
            parent=os.getpid(),
            prefix=self._id,
            # Completing configurations costs a second process start per model; the exported ones are complete.
            command=[
                str(wheel.binary),
                "--disable-auto-complete-config",
                *(f"--{name}={value}" for name, value in options.items()),
                *(f"--trace-config={setting}" for setting in self._trace_settings()),
            ],
            files={name: str(path) for name, path in wheel.backend_files.items()},
            # A killed server would leave this folder behind. Relative to the working folder it goes with the copies.
            edits=[("python/libtriton_python.so", "/tmp/python_env_", "./../python_env_")],  # noqa: S108
            # The stub imports `model` from its working folder first: no other module of that name gets in the way.
            working_folder="onnxruntime",
            drain_s=self._drain_s,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, job.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=wheel.environment(self._threads),
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal reaches this process only, which then stops the server
        )
        self._pump = threading.Thread(target=self._read_log, args=[self._process], name="triton-log", daemon=True)
        self._pump.start()

    def _trace_settings(self) -> list[str]:
        """Values of `--trace-config`."""
        if self._trace_url is None:
            return []
        # Rate 0 starts no trace by itself: only those of callers go on here.
        return [
            "mode=opentelemetry",
            "rate=0",
            "level=TIMESTAMPS",
            f"opentelemetry,url={self._trace_url}",
            "opentelemetry,resource=service.name=triton",
            "opentelemetry,bsp_schedule_delay=500",  # milliseconds; what is not sent when it stops is lost
        ]

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        """Keep the end of the log and hand it on, so that the server never blocks on a full pipe."""
        for line in process.stdout or ():
            self._log.append(line.rstrip("\n"))
            if is_fatal(line):
                self._gave_up.set()
            if self._on_log is not None:
                self._on_log(line.rstrip("\n"))

    def _wait_until_ready(self, deadline: float) -> None:
        while not self._is_ready():
            if self._gave_up.is_set() or self._running().poll() is not None:
                self.stop()  # reads the log to its end
                raise self._failure("did not start")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failure(
                    f"was not ready after {self._startup_timeout_s:g} s; allow more with startup_timeout_s"
                )
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """Whether this server, not another one that took the port meanwhile, answers that all models are ready."""
        host, port = self.grpc_url.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            with triton_grpc.InferenceServerClient(self.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client:
                ours: bool = client.get_server_metadata(client_timeout=5).name == self._id
                return ours and bool(client.is_server_ready(client_timeout=5))
        except (OSError, InferenceServerException):
            return False

    def _failure(self, what: str) -> EmbeddedTritonError:
        """The error for a server that ended, with the causes and the end of its log."""
        log = list(self._log)
        causes = "".join(f"\n  {error}" for error in startup_errors(log))
        tail = "".join(f"\n  | {line[:LOG_LINE_LENGTH]}" for line in without_tables(log)[-LOG_LINES_SHOWN:])
        return EmbeddedTritonError(
            f"the embedded Triton for {self._repository} {what}{causes}\nthe end of its log:{tail or ' (empty)'}"
        )


def _bind(wanted: tuple[int, int]) -> list[int]:
    """The wanted ports, with free ones in place of 0, all of them found unused.

    Raises:
        EmbeddedTritonError: names the port that is in use.
    """
    with socket.socket() as first, socket.socket() as second:
        for port, holder in zip(wanted, (first, second), strict=True):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((LOOPBACK, port))
            except OSError as error:
                raise EmbeddedTritonError(
                    f"port {port} on {LOOPBACK}: {error.strerror}; choose another one, or 0 for any free one"
                ) from None
        return [holder.getsockname()[1] for holder in (first, second)]
