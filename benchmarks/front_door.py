"""What the front door costs: the same reviews through it and through the bare analyzer, on one Triton, in turn.

    python -m benchmarks.front_door                                # tables
    python -m benchmarks.front_door --update docs/performance.md   # and into the document

Each front door is a process of its own, as deployed; the bare analyzer runs in this process, which also is the client
of the front doors, so its work of writing requests and reading answers counts against them. In every round each way has
its turn, in changing order, and is compared with the bare analyzer in that round: a busy machine slows both. Before
that, every front door's answers are compared with the analyzer's.

- ``throughput``: callers that wait for their answers, each with several reviews a call
- ``stream``: the same reviews over one AnalyzeStream, or in one ``analyze_stream`` of the analyzer
- ``one short review``: one caller with one review of four words, one after the other; the ways alternate every ten

The processor time is that of all of these processes, Triton's included: on a busy machine it says more than the clock.

Metrics are always counted. ``scraped`` has them read once a second, ``traced`` records and exports a trace of each
call, ``tls`` encrypts, ``all`` does all three. ``cached`` answers the short review from the cache.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from benchmarks.comparison import Spread, differences, markdown_table, ratios, replace_section
from benchmarks.front_door_process import cpu_s, front_door, span_collector, tls_files, until_serving
from benchmarks.load import distinct_reviews
from benchmarks.load_generator import OK, Reply, Report, Send, closed_loop
from benchmarks.typed_api import Tls, TypedApi, connect
from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from client.results import ReviewInput
from client.served import served_artifact_folder
from server.embedded import EmbeddedTriton

ROOT = Path(__file__).resolve().parent.parent
CORE, PLAIN, CACHED = "bare analyzer", "front door", "cached"
OPTIONS = ("tls", "scraped", "traced", "all")
SHORT_REVIEW = "배송은 빠른데 핏이 아쉬워요"
SCRAPE_EVERY_S = 1.0
TURN = 10  # short reviews
SECTION = "front door: measured"


@dataclass(frozen=True)
class Way:
    """A way to get the same analyses. Request numbers go on from measurement to measurement."""

    name: str
    call: Send
    stream: Send
    short: Send
    process: int  # which the analysis runs in


@dataclass(frozen=True)
class Load:
    """What is sent: ``texts`` once a round, ``shorts`` times the short review."""

    texts: Sequence[str]
    callers: int
    reviews_per_call: int
    shorts: int
    rounds: int


@dataclass(frozen=True)
class Cost:
    """A report, and the processor seconds that went into it: of all processes, and of all but Triton."""

    report: Report
    cpu_s: float
    cpu_outside_s: float

    @property
    def speed(self) -> float:
        """Reviews a second."""
        return self.report.reviews_per_second

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of a review."""
        return 1000 * self.cpu_s / self.report.reviews[OK]

    @property
    def cpu_outside_ms(self) -> float:
        """The same without Triton."""
        return 1000 * self.cpu_outside_s / self.report.reviews[OK]


@dataclass(frozen=True)
class Measured:
    """What was measured in every round, by the name of the way; of the short review the median in milliseconds."""

    throughput: dict[str, list[Cost]]
    stream: dict[str, list[Cost]]
    short_ms: dict[str, list[float]]


class BareAnalyzer:
    """The requests of ``TypedApi`` without a front door."""

    def __init__(self, analyzer: ReviewAnalyzer, texts: Sequence[str], reviews_per_call: int) -> None:
        self._analyzer = analyzer
        self._texts = texts
        self._count = reviews_per_call

    async def call(self, number: int) -> Reply:
        """One ``analyze``."""
        first = number * self._count
        return _reply(await self._analyzer.analyze(self._reviews(range(first, first + self._count))))

    async def stream(self, number: int) -> Reply:
        """One ``analyze_stream`` of all reviews."""
        first = number * len(self._texts)
        reviews = self._reviews(range(first, first + len(self._texts)))
        return _reply([analysis async for analysis in self._analyzer.analyze_stream(reviews)])

    async def short(self, number: int) -> Reply:
        """The short review."""
        return _reply(await self._analyzer.analyze([ReviewInput(SHORT_REVIEW, str(number))]))

    def _reviews(self, numbers: range) -> list[ReviewInput]:
        return [ReviewInput(self._texts[number % len(self._texts)], str(number)) for number in numbers]


def _reply(analyses: Sequence[ReviewAnalysis]) -> Reply:
    failed = [analysis.error.message for analysis in analyses if analysis.HasField("error")]
    return Reply(reviews={OK: len(analyses) - len(failed), "failed": len(failed)}, problem=failed[0] if failed else "")


async def measure(ways: Sequence[Way], load: Load, triton: int) -> Measured:
    """All rounds of all measurements; ``triton`` is its process.

    Raises:
        RuntimeError: a request failed.
    """
    measured = Measured(defaultdict(list), defaultdict(list), defaultdict(list))
    calls = len(load.texts) // load.reviews_per_call
    for number in range(load.rounds):
        shift = number % len(ways)
        order = [*ways[shift:], *ways[:shift]]
        for way in order:
            if way.name == CACHED:
                continue
            for send, callers, requests, costs in (
                (way.call, load.callers, calls, measured.throughput),
                (way.stream, 1, 1, measured.stream),
            ):
                before = _cpu_s(way, triton)
                report = _good(way, await closed_loop(send, callers, requests=requests, first=number * requests))
                used = [after - earlier for after, earlier in zip(_cpu_s(way, triton), before, strict=True)]
                costs[way.name].append(Cost(report, sum(used), used[0]))
        for name, report in (await _alternating(order, load.shorts)).items():
            measured.short_ms[name].append(1000 * report.latency_s(50))
        print(f"round {number + 1} of {load.rounds}", file=sys.stderr, flush=True)
    return measured


def _cpu_s(way: Way, triton: int) -> tuple[float, float]:
    """Processor seconds so far: this process's and the front door's, Triton's."""
    outside = time.process_time() + (cpu_s(way.process) if way.process != os.getpid() else 0.0)
    return outside, cpu_s(triton)


async def _alternating(ways: Sequence[Way], count: int) -> dict[str, Report]:
    """The short review ``count`` times each way, in turns of a few: one alone would find a process that has slept."""
    reports = {way.name: Report() for way in ways}
    for first in range(0, count, TURN):
        for way in ways:
            requests = min(TURN, count - first)
            report = _good(way, await closed_loop(way.short, 1, requests=requests, first=first))
            reports[way.name] = reports[way.name] + report
    return reports


def _good(way: Way, report: Report) -> Report:
    if report.errors:
        raise RuntimeError(f"{way.name}: {report}")
    return report


@asynccontextmanager
async def all_ways(repository: Path, triton_url: str, load: Load, options: Sequence[str]) -> AsyncIterator[list[Way]]:
    """The bare analyzer, and front doors whose answers were found to be the same.

    Raises:
        RuntimeError: one does not start, or answers something else.
    """
    artifact = Artifact.load(served_artifact_folder(repository))
    async with AsyncExitStack() as stack:
        analyzer = await stack.enter_async_context(await ReviewAnalyzer.connect(triton_url, artifact))
        known = {analysis.text: analysis for analysis in await analyzer.analyze([*load.texts, SHORT_REVIEW])}
        bare = BareAnalyzer(analyzer, load.texts, load.reviews_per_call)
        ways = [Way(CORE, bare.call, bare.stream, bare.short, os.getpid())]
        for name in (PLAIN, *options, CACHED):
            flags, tls = await _flags(stack, name)
            url, process = await stack.enter_async_context(front_door(repository, triton_url, flags))
            channel = await stack.enter_async_context(connect(url, tls))
            await until_serving(channel)
            calls = TypedApi(channel, load.texts, reviews_per_request=load.reviews_per_call)
            streams = TypedApi(channel, load.texts, reviews_per_request=len(load.texts), deadline_s=None)
            shorts = TypedApi(channel, [SHORT_REVIEW])
            way = Way(name, calls.analyze, streams.analyze_stream, shorts.analyze, process)
            calls.known = streams.known = shorts.known = known
            for send in (way.stream, way.short):
                _good(way, await closed_loop(send, 1, requests=1))
            # From now on answers are only counted: comparing them takes the time of this process.
            calls.known = streams.known = shorts.known = {}
            ways.append(way)
        yield ways


async def _flags(stack: AsyncExitStack, name: str) -> tuple[list[str], Tls | None]:
    """Settings of a front door, and how its clients connect."""
    port = _free_port()
    flags, tls = ["--metrics.listen", f"127.0.0.1:{port}"], None
    if name == CACHED:
        flags += ["--cache.entries", "1000"]
    if name in ("tls", "all"):
        more, tls = tls_files(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        flags += more
    if name in ("traced", "all"):
        collector = await stack.enter_async_context(span_collector())
        flags += ["--tracing.otlp-endpoint", f"http://127.0.0.1:{collector['port']}", "--tracing.sample-ratio", "1"]
    if name in ("scraped", "all"):
        stack.enter_context(_scraped(port))
    return flags, tls


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _scraped(port: int) -> Iterator[None]:
    """Read the metrics again and again, on a thread of its own."""
    end = threading.Event()

    def scrape() -> None:
        while not end.wait(SCRAPE_EVERY_S):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()
            except OSError:  # it has not started yet, or has ended
                continue

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def tables(measured: Measured, load: Load) -> str:
    """The figures as markdown: medians of the rounds, the quartiles of comparisons in brackets."""
    names = [name for name in (CORE, PLAIN, *OPTIONS, CACHED) if name in measured.short_ms]
    parts = []
    for title, costs in (
        (f"{load.callers} callers, {load.reviews_per_call} reviews a call", measured.throughput),
        ("one stream", measured.stream),
    ):
        heads = [title, "reviews/s", "ratio", "processor ms a review", "ratio", "of it outside Triton"]
        parts.append(markdown_table(heads, [_row(name, costs[name], costs[CORE]) for name in names if name in costs]))
    rows = []
    for name in names:
        short = measured.short_ms[name]
        added = "" if name == CORE else f"{differences(short, measured.short_ms[CORE]):+.2f}"
        rows.append([name, f"{Spread.of(short).median:.1f}", added])
    parts.append(markdown_table(["one short review", "median, ms", "added, ms"], rows))
    parts.append(
        f"{load.rounds} rounds of {len(load.texts)} distinct reviews with exact highlights, and of {load.shorts} times "
        "the short review. Ratios and added time are against the bare analyzer in the same round: median of the "
        f"rounds, and quartiles. {os.cpu_count()} cores for Triton, front door and client together; load average "
        f"{os.getloadavg()[1]:.1f} in the last 5 minutes."
    )
    return "\n\n".join(parts)


def _row(name: str, costs: Sequence[Cost], core: Sequence[Cost]) -> list[str]:
    speed, cpu = [cost.speed for cost in costs], [cost.cpu_ms for cost in costs]
    compared = name != CORE
    return [
        name,
        f"{Spread.of(speed).median:.1f}",
        f"{ratios(speed, [cost.speed for cost in core]):.3f}" if compared else "",
        f"{Spread.of(cpu).median:.2f}",
        f"{ratios(cpu, [cost.cpu_ms for cost in core]):.3f}" if compared else "",
        f"{Spread.of(cost.cpu_outside_ms for cost in costs).median:.2f}",
    ]


async def run(args: argparse.Namespace, triton: EmbeddedTriton) -> str:
    """Measure, and make the tables."""
    calls = max(args.callers, args.reviews // args.reviews_per_call)
    texts = distinct_reviews(args.input_data, calls * args.reviews_per_call)
    load = Load(texts, args.callers, args.reviews_per_call, args.shorts, args.rounds)
    async with all_ways(args.repository, triton.grpc_url, load, args.options) as ways:
        return tables(await measure(ways, load, triton.pid), load)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.front_door",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--repository", type=Path, default=ROOT / "model_repository", metavar="DIR", help="(default: %(default)s)")
    add("--input-data", type=Path, default=ROOT / "samples" / "reviews.txt", metavar="FILE", help="a review a line")
    add("--rounds", type=int, default=11, metavar="N", help="(default: %(default)s)")
    add("--callers", type=int, default=16, metavar="N", help="(default: %(default)s)")
    add("--reviews-per-call", type=int, default=8, metavar="N", help="(default: %(default)s)")
    add("--reviews", type=int, default=256, metavar="N", help="reviews a round, distinct (default: %(default)s)")
    add("--shorts", type=int, default=40, metavar="N", help="short reviews a round (default: %(default)s)")
    add("--options", nargs="*", choices=OPTIONS, default=list(OPTIONS), help="front doors beside the plain one")
    add("--threads", type=int, metavar="N", help="onnxruntime threads of Triton (default: as the models say)")
    add("--update", type=Path, metavar="FILE", help="markdown document whose tables are replaced")
    return command


def main() -> None:
    """Run the command."""
    args = parser().parse_args()
    with EmbeddedTriton(args.repository, threads=args.threads) as triton:
        text = asyncio.run(run(args, triton))
    print(text)
    if args.update:
        replace_section(args.update, SECTION, text)


if __name__ == "__main__":
    main()
