"""Front doors for benchmarks: each a process of its own in front of one Triton, as deployed; and what they cost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.typed_api import Tls
from tests.functional.security.authority import Authority

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def front_door(repository: Path, triton_url: str, flags: Sequence[str] = ()) -> AsyncIterator[tuple[str, int]]:
    """HOST:PORT and process id of a front door on loopback; SIGTERM ends it with the block. ``flags`` are settings.

    Raises:
        RuntimeError: it does not start; says what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.front_door", "--listen", "127.0.0.1:0", "--logging.level", "warning"),
        *("--triton-url", triton_url, "--model-repository", str(repository), *flags),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            raise AssertionError("stdout is a pipe")
        line = (await asyncio.wait_for(process.stdout.readline(), START_S)).decode()
        if not line.startswith("serving on "):
            raise RuntimeError(f"the front door did not start: {line or 'its log has why'}")
        yield line.split()[-1], process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until_serving(channel: grpc.aio.Channel) -> None:
    """Wait until both models answer.

    Raises:
        TimeoutError: they do not.
    """
    async with asyncio.timeout(START_S):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        async for answer in watch:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                watch.cancel()
                return


def tls_files(folder: Path) -> tuple[list[str], Tls]:
    """Flags of a front door with a certificate that was made just now, and what its clients need."""
    authority = Authority("benchmark")
    certificate, key = authority.issue("localhost").write(folder, "server")
    (folder / "authority.pem").write_bytes(authority.certificate)
    flags = ["--tls.certificate-file", str(certificate), "--tls.key-file", str(key)]
    return flags, Tls(folder / "authority.pem")


@asynccontextmanager
async def span_collector() -> AsyncIterator[Mapping[str, int]]:
    """An OTLP collector that drops what it gets; ``{"port": …, "exports": …}``, the latter counted."""
    counts = {"port": 0, "exports": 0}

    async def export(_: bytes, __: object) -> bytes:
        counts["exports"] += 1
        return b""  # an ExportTraceServiceResponse with nothing to tell

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    counts["port"] = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield counts
    finally:
        await server.stop(0)


def cpu_s(pid: int) -> float:
    """Processor time that a process and those that it started have used, in seconds; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return 0.0
    user, system = int(fields[11]), int(fields[12])  # fields 14 and 15 of proc_pid_stat(5), without the first two
    return (user + system) / TICKS_PER_SECOND + sum(cpu_s(int(child)) for child in children)
