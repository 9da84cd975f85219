"""What the masking plan saves: reviews a second with highlights, side by side in one run.

    python -m benchmarks.occlusion

- ``one call a mask``: the plainest loop, one request for each masked word, each after the other
- ``one batch a review``: a review's masks in one request, reviews one after the other
- ``exact``: the analyzer's way: masks of all reviews deduplicated and packed by length into token budgets
- ``fast``: segments of words first, then the words of the best segments
- ``off``: no highlights, for the price of the rest

All run the same models on the same embedded Triton, in turns, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from client.options import AnalysisOptions, BatchingOptions
from client.served import served_artifact_folder
from server.embedded import EmbeddedTriton

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[[list[str]], Awaitable[list[ReviewAnalysis]]]


async def measure(url: str, artifact: Artifact, texts: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Best reviews a second of each way, and the share of top highlights that equal those of ``exact``."""
    exact, batching = AnalysisOptions(), BatchingOptions(request_timeout_s=120)
    options = {
        "one call a mask": (exact, replace(batching, max_rows=1, concurrency=1)),
        "one batch a review": (exact, replace(batching, concurrency=1)),
        "exact": (exact, batching),
        "fast": (AnalysisOptions(highlight="fast"), batching),
        "off": (AnalysisOptions(highlight="off"), batching),
    }
    analyzers = {name: await ReviewAnalyzer.connect(url, artifact, *option) for name, option in options.items()}
    best = dict.fromkeys(options, 0.0)
    tops: dict[str, dict[tuple[int, str], int]] = {}
    for _ in range(rounds):
        for name, analyzer in analyzers.items():
            start = time.perf_counter()
            if name == "one batch a review":
                analyses = [(await analyzer.analyze([text]))[0] for text in texts]
            else:
                analyses = await analyzer.analyze(texts)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - start))
            tops[name] = {
                (number, keyword.keyword): keyword.highlights[0].start
                for number, analysis in enumerate(analyses)
                for keyword in analysis.keywords
                if keyword.highlights
            }
    for analyzer in analyzers.values():
        await analyzer.close()
    expected = tops["exact"]
    agreement = {
        name: sum(top.get(pair) == start for pair, start in expected.items()) / max(1, len(expected))
        for name, top in tops.items()
    }
    return {name: (best[name], agreement[name]) for name in options}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.occlusion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--reviews", type=Path, default=ROOT / "samples" / "reviews.txt", help="a review a line")
    parser.add_argument("--limit", type=int, default=200, help="reviews to use (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts (default: %(default)s)")
    args = parser.parse_args()
    texts = [line for line in args.reviews.read_text(encoding="utf-8").splitlines() if line.strip()][: args.limit]
    artifact = Artifact.load(served_artifact_folder(args.repository))
    with EmbeddedTriton(args.repository) as triton:
        results = asyncio.run(measure(triton.grpc_url, artifact, texts, args.rounds))
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(f"{len(texts)} reviews of {words:.0f} words, {platform.machine()}, best of {args.rounds}\n")
    print("way                 reviews/s   ratio  same top highlight as exact")
    slowest = results["one call a mask"][0]
    for name, (speed, agreement) in results.items():
        same = "" if name == "off" else f"{agreement:.3f}"
        print(f"{name:<18} {speed:>10.1f} {speed / slowest:>6.1f}x  {same}")


if __name__ == "__main__":
    main()
