"""Load for a deployment of the front door, through its typed API, in perf_analyzer's words.

    make serve                                                               # in one terminal, in another:
    python -m benchmarks.load --concurrency-range 1:16:5                     # callers that wait for their answers
    python -m benchmarks.load --request-rate-range 20:60:20 --batch-size 4   # callers that do not, 4 reviews a request
    python -m benchmarks.load --streaming --batch-size 200                   # a stream of 200 reviews is one request
    REVIEWLENS_TOKEN=… python -m benchmarks.load --url reviews.internal:8500 --ssl-grpc-use-ssl

Every answer is checked: with --learn (the default) against what the same text was answered before the load. Latency
counts from when a request was due. A caller that is refused comes back when the server says. Exit status: 0 when every
answer was right, 1 when not, 2 when there is no service.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb

from benchmarks.load_generator import Reply, Report, closed_loop, open_loop, percentile
from benchmarks.typed_api import Tls, TypedApi, connect

__all__ = ["Reply", "Report", "Tls", "TypedApi", "closed_loop", "connect", "open_loop", "percentile"]

ROOT = Path(__file__).resolve().parent.parent
MODES = ("unspecified", "exact", "fast", "off")


def distinct_reviews(source: Path, count: int, seed: int = 1) -> list[str]:
    """The file's reviews, a line each, and then as many invented ones of its words as are missing; all are distinct."""
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    words = " ".join(lines).split()
    rng = random.Random(seed)  # noqa: S311
    reviews = dict.fromkeys(lines[:count])
    while len(reviews) < count:
        reviews[" ".join(rng.choices(words, k=rng.randint(3, 20)))] = None
    return list(reviews)


async def run(args: argparse.Namespace) -> int:
    """Measure all loads that were asked for; the exit status."""
    texts = distinct_reviews(args.input_data, args.distinct_reviews)
    tls = None
    if args.ssl_grpc_use_ssl:
        tls = Tls(
            args.ssl_grpc_root_certifications_file,
            args.ssl_grpc_certificate_chain_file,
            args.ssl_grpc_private_key_file,
        )
    options = pb.AnalysisOptions(highlight_mode=f"HIGHLIGHT_MODE_{args.highlight.upper()}")
    failed = False
    async with connect(args.url, tls, os.environ.get("REVIEWLENS_TOKEN", "")) as channel:
        api = TypedApi(
            channel, texts, reviews_per_request=args.batch_size, options=options, deadline_s=args.client_timeout / 1000
        )
        send = api.analyze_stream if args.streaming else api.analyze
        try:
            if args.learn:
                await api.learn()
        except grpc.aio.AioRpcError as error:
            print(f"{args.url}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 2
        seconds, first = args.measurement_interval / 1000, 0
        for load in args.request_rate_range or args.concurrency_range or [1]:
            if args.request_rate_range:
                report = await open_loop(
                    send, load, seconds=seconds, distribution=args.request_distribution, first=first
                )
                print(f"request rate {load}/s: {report}", flush=True)
            else:
                report = await closed_loop(send, load, seconds=seconds, first=first)
                print(f"concurrency {load}: {report}", flush=True)
            first += report.requests.total()
            failed = failed or bool(report.errors)
    return int(failed)


def load_range(text: str) -> range:
    """START, START:END or START:END:STEP, as perf_analyzer has it."""
    parts = [int(part) for part in text.split(":")]
    start, end, step = (parts + [parts[0], 1][len(parts) - 1 :])[:3]
    if min(start, step) < 1:
        raise ValueError("START and STEP begin at 1")
    return range(start, end + 1, step)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., argparse.Action] = command.add_argument
    add("-u", "--url", default="127.0.0.1:8500", help="HOST:PORT of the front door (default: %(default)s)")
    load = command.add_mutually_exclusive_group()
    for name, what in (
        ("concurrency", "requests under way (default: 1)"),
        ("request-rate", "requests a second, whoever is still waiting"),
    ):
        load.add_argument(f"--{name}-range", type=load_range, metavar="START[:END[:STEP]]", help=what)
    add("--request-distribution", choices=("constant", "poisson"), default="constant", help="(default: %(default)s)")
    add("-p", "--measurement-interval", type=int, default=10_000, metavar="MS", help="for each load (default: 10000)")
    add("-b", "--batch-size", type=int, default=1, metavar="N", help="reviews of a request (default: 1)")
    add("--streaming", action="store_true", help="AnalyzeStream in place of Analyze; a stream is a request")
    add("--client-timeout", type=int, default=30_000, metavar="MS", help="deadline of a request (default: 30000)")
    add("--highlight", choices=MODES, default="unspecified", help="highlights wanted (default: as the server has it)")
    add("--input-data", type=Path, default=ROOT / "samples" / "reviews.txt", metavar="FILE", help="a review a line")
    add(
        "--distinct-reviews",
        type=int,
        default=500,
        metavar="N",
        help="reviews sent in turn: the file's, and others invented of its words (default: %(default)s)",
    )
    add("--learn", action=argparse.BooleanOptionalAction, default=True, help="know the answers before the load")
    add("--ssl-grpc-use-ssl", action="store_true", help="TLS; the token of REVIEWLENS_TOKEN goes over TLS only")
    for name, what in (
        ("root-certifications", "the server's authority, if not one of the system's"),
        ("certificate-chain", "this client's certificate, for mTLS"),
        ("private-key", "its key"),
    ):
        add(f"--ssl-grpc-{name}-file", type=Path, metavar="PEM", help=what)
    return command


def main() -> int:
    """Run the command; the exit status."""
    return asyncio.run(run(parser().parse_args()))


if __name__ == "__main__":
    sys.exit(main())
