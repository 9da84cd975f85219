"""A load generator in perf_analyzer's words: concurrency or request rate; throughput, latency percentiles, errors.

    report = await closed_loop(send, concurrency=16, seconds=10)   # each of 16 callers waits for its answer
    report = await open_loop(send, request_rate=50, seconds=10)    # callers who do not wait for one another
    print(report)

What a request is, ``send`` decides: it makes request number N and says what became of it. ``benchmarks.typed_api`` has
one for the front door, which checks every answer.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

OK = "OK"
PERCENTILES = (50, 90, 99)

Distribution = Literal["constant", "poisson"]


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    ``code`` is the call's status name, ``reviews`` counts its reviews by OK or what was wrong, ``retry_after_s`` is the
    server's hint when to come back, ``problem`` tells a person what was wrong.
    """

    code: str = OK
    reviews: Mapping[str, int] = field(default_factory=dict)
    retry_after_s: float = 0.0
    problem: str = ""


Send = Callable[[int], Awaitable[Reply]]


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that ``percent`` % of them do not exceed (nearest rank); NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


@dataclass
class Report:
    """What was measured. ``latencies_s`` are those of requests that ended OK; the others are in ``requests`` only."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    reviews: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def requests_per_second(self) -> float:
        """Throughput of requests that ended OK."""
        return self.requests[OK] / self.seconds

    @property
    def reviews_per_second(self) -> float:
        """Goodput: reviews with a right answer."""
        return self.reviews[OK] / self.seconds

    @property
    def errors(self) -> dict[str, int]:
        """Requests and reviews by what was wrong, where anything was."""
        return {code: count for code, count in (self.requests + self.reviews).items() if code != OK}

    def latency_s(self, percent: float) -> float:
        """Seconds in which so many percent of the requests were answered."""
        return percentile(self.latencies_s, percent)

    def add(self, reply: Reply, latency_s: float) -> None:
        """Count a finished request."""
        self.requests[reply.code] += 1
        self.reviews.update(reply.reviews)
        if reply.code == OK:
            self.latencies_s.append(latency_s)
        if reply.problem:
            self.problems[reply.problem] += 1

    def __add__(self, later: Self) -> Self:
        """Both, as if one had followed on the other."""
        return type(self)(
            self.seconds + later.seconds,
            self.latencies_s + later.latencies_s,
            self.requests + later.requests,
            self.reviews + later.reviews,
            self.problems + later.problems,
        )

    def __str__(self) -> str:
        latencies = ", ".join(f"p{p} {1000 * self.latency_s(p):.1f} ms" for p in PERCENTILES)
        lines = [
            f"throughput {self.requests_per_second:.1f} requests/s, {self.reviews_per_second:.1f} reviews/s; "
            f"latency {latencies}; {self.requests.total()} requests in {self.seconds:.1f} s"
        ]
        if self.errors:
            lines.append("errors " + ", ".join(f"{code} {count}" for code, count in sorted(self.errors.items())))
        lines += [f"  {count}x {problem}" for problem, count in self.problems.most_common(5)]
        return "\n".join(lines)


async def closed_loop(
    send: Send, concurrency: int, *, seconds: float = math.inf, requests: int | None = None, first: int = 0
) -> Report:
    """So many callers, each of which sends its next request when the last one is answered.

    Requests begin for ``seconds``, or until there were as many as ``requests``; those under way are waited for. They
    are numbered from ``first``. A caller that was told when to come back does not come earlier.
    """
    if requests is None and math.isinf(seconds):
        raise ValueError("seconds or requests: one of them must bound the load")
    numbers = itertools.count(first) if requests is None else iter(range(first, first + requests))
    report, start = Report(), time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - start < seconds and (number := next(numbers, None)) is not None:
            reply = await _measured(send, number, time.perf_counter(), report)
            if reply.retry_after_s:
                await asyncio.sleep(min(reply.retry_after_s, max(0.0, start + seconds - time.perf_counter())))

    async with asyncio.TaskGroup() as callers:
        for _ in range(concurrency):
            callers.create_task(caller())
    report.seconds = time.perf_counter() - start
    return report


async def open_loop(
    send: Send,
    request_rate: float,
    *,
    seconds: float,
    distribution: Distribution = "constant",
    first: int = 0,
    seed: int = 1,
) -> Report:
    """So many requests a second for ``seconds``, whether or not earlier ones were answered; all are waited for.

    Latency counts from when a request was due, so that a server that stalls is charged for those who queue before it.
    """
    report, start = Report(), time.perf_counter()
    async with asyncio.TaskGroup() as requests:
        for number, due in enumerate(_due_times(request_rate, seconds, distribution, seed), first):
            await asyncio.sleep(start + due - time.perf_counter())
            requests.create_task(_measured(send, number, start + due, report))
    report.seconds = time.perf_counter() - start
    return report


def _due_times(rate: float, seconds: float, distribution: Distribution, seed: int) -> Iterator[float]:
    """Seconds after the start at which requests are due."""
    if distribution == "constant":
        return (number / rate for number in range(round(rate * seconds)))
    rng = random.Random(seed)  # noqa: S311
    gaps = (rng.expovariate(rate) for _ in itertools.count())
    return itertools.takewhile(lambda due: due < seconds, itertools.accumulate(gaps))


async def _measured(send: Send, number: int, due: float, report: Report) -> Reply:
    reply = await send(number)
    report.add(reply, time.perf_counter() - due)
    return reply
