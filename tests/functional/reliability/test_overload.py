"""64 clients that ask for about twice of what can be computed: what is answered is right, and as much as ever.

RELIABILITY_OVERLOAD_S sets the seconds of the overload, RELIABILITY_STARTER=1 takes the starter model, whose rows cost
a real model's time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.load import Reply, Report, TypedApi, closed_loop, connect, open_loop
from benchmarks.load_generator import OK
from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import distinct_texts
from tests.functional.reliability.conftest import Figure, StartDoor
from tests.functional.reliability.door_process import DoorProcess, descendants

SECONDS = float(os.environ.get("RELIABILITY_OVERLOAD_S", "8"))
STARTER = bool(os.environ.get("RELIABILITY_STARTER"))
CLIENTS = 64
REVIEWS_A_CALL, TEXTS = (4, 300) if STARTER else (16, 2400)
# Enough to keep Triton busy, so little that waiting calls are answered soon.
QUEUED_TOKENS = 40_000
MEBI = 2**20


@contextmanager
def memory_of(door: DoorProcess) -> Iterator[list[int]]:
    """The server's memory, in bytes, every tenth of a second during the block."""
    samples = [door.memory()]
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.1):
            samples.append(door.memory())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        stop.set()
        sampler.join()


def cpu_seconds(*roots: int) -> float:
    """Seconds of processor time that processes have used, with those below them."""
    ticks = 0
    for pid in (process for root in roots for process in (root, *descendants(root))):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Phase:
    """A load, and the processor time that front door and Triton took for it."""

    report: Report
    cpu_s: float

    @property
    def reviews_per_cpu_second(self) -> float:
        """Goodput for the work done, which other programs on the machine do not change."""
        return self.report.reviews[OK] / self.cpu_s


async def peaks_and_overload(address: str, pids: tuple[int, ...], hints: list[float]) -> tuple[list[Phase], Phase]:
    """Goodput of a few callers who wait for their answers, before and after that of CLIENTS who ask for twice as much.

    The machine is no quieter for one than for the other.
    """
    texts = distinct_texts(TEXTS)
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connect(address)) for _ in range(CLIENTS)]
        clients = [TypedApi(channel, texts, reviews_per_request=REVIEWS_A_CALL) for channel in channels]
        await clients[0].learn()
        for client in clients:
            client.known = clients[0].known

        async def send(number: int) -> Reply:
            reply = await clients[number % CLIENTS].analyze(number)
            if reply.code == "RESOURCE_EXHAUSTED":
                hints.append(reply.retry_after_s)
            return reply

        async def phase(load: Coroutine[None, None, Report]) -> Phase:
            before = cpu_seconds(*pids)
            report = await load
            return Phase(report, cpu_seconds(*pids) - before)

        peak_s = max(2.0, SECONDS / 4)
        before = await phase(closed_loop(send, 8, seconds=peak_s))
        rate, first = 2 * before.report.requests_per_second, before.report.requests.total()
        overload = await phase(open_loop(send, rate, seconds=SECONDS, first=first, distribution="poisson"))
        first += overload.report.requests.total()
        after = await phase(closed_loop(send, 8, seconds=peak_s, first=first))
        return [before, after], overload


def test_goodput_and_memory_hold_at_twice_the_capacity(
    start_door: StartDoor, tiny_repository: Path, starter_repository: Path, figure: Figure
) -> None:
    repository = starter_repository if STARTER else tiny_repository
    hints: list[float] = []
    with EmbeddedTriton(repository, threads=1) as triton:
        settings = {
            "triton-url": triton.grpc_url,
            "limits.max-queued-tokens": QUEUED_TOKENS,
            "limits.max-calls-per-client": 100_000,  # all clients of the test have one address
        }
        door = start_door(settings, repository)
        with memory_of(door) as memory:
            pids = door.pid, triton.pid
            peaks, overloaded = asyncio.run(peaks_and_overload(door.address, pids, hints))
            wait_until(door.idle)
    overload, asked = overloaded.report, overloaded.report.requests.total()
    peak = fmean(phase.report.reviews_per_second for phase in peaks)
    work = overloaded.reviews_per_cpu_second / fmean(phase.reviews_per_cpu_second for phase in peaks)
    figure(
        f"peak {' and '.join(f'{phase.report.reviews_per_second:.0f}' for phase in peaks)} reviews/s; {asked} calls in "
        f"{overload.seconds:.0f} s, {overload.requests[OK]} answered, {overload.reviews_per_second:.0f} reviews/s "
        f"({overload.reviews_per_second / peak:.0%}; {work:.0%} by processor time), p99 "
        f"{1000 * overload.latency_s(99):.0f} ms; memory {memory[0] / MEBI:.0f} to {max(memory) / MEBI:.0f} MiB; hints "
        f"{min(hints):.2f} to {max(hints):.2f} s"
    )
    assert [phase.report.errors for phase in peaks] == [{}, {}]
    # Every call has an answer: the right one, or that there is no room now with a hint when to come back.
    assert set(overload.requests) == {OK, "RESOURCE_EXHAUSTED"}
    assert overload.reviews == {OK: REVIEWS_A_CALL * overload.requests[OK]}
    assert overload.requests["RESOURCE_EXHAUSTED"] > asked / 4
    assert min(hints) > 0
    # The promise is 10 %. A run of seconds, and one with the tiny model, for which a refusal is much, can only show a
    # collapse; least by the clock, as other programs on the machine do not take the same from both phases.
    measured = STARTER and SECONDS >= 60
    assert work > (0.9 if measured else 0.6)
    assert overload.reviews_per_second > (0.9 if measured else 0.5) * peak
    assert max(memory) < 1.3 * memory[0] + 64 * MEBI
