"""Evaluate a model repository as it is served, on reviews that no training touched.

    python -m training.evaluate --repository model_repository --data people.jsonl.gz guideline.jsonl.gz

The reviews of the test split (8 %, by a hash of the text) go through the analyzer and an embedded Triton: windows,
batches, thresholds and int8 included. Each file gets a table of keywords and, where people marked the words, the share
of top highlights inside them. Sentiments are of every (review, keyword) pair that is tagged in it, also where the
keyword classifier misses the keyword: the served graph is asked for them directly, in one window.

What is chosen among several models is chosen with ``--split validation``; the test split is for the figures of the one
that was chosen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact, Labels
from client.errors import InvalidInputError, ReviewLensError
from client.options import AnalysisOptions, BatchingOptions
from client.results import ReviewInput
from client.served import served_artifact_folder
from server.embedded import EmbeddedTriton
from training.checkpoint import write_text
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.metrics import Table, format_table, multi_label_table, single_label_table
from training.predictions import Predictions, predict_repository
from training.review_trainer import disk_errors

log = logging.getLogger("evaluate")


def keyword_table(reviews: Sequence[LabelledReview], analyses: Sequence[ReviewAnalysis], labels: Labels) -> Table:
    """Keywords that the reviews' source annotates, predicted against true."""
    names = [name for name in labels.keywords if all(name in review.annotated for review in reviews)]
    true = np.array([[name in review.scores for name in names] for review in reviews])
    found = [{k.keyword for k in analysis.keywords} for analysis in analyses]
    return multi_label_table(true, np.array([[name in row for name in names] for row in found]), names)


def highlight_share(reviews: Sequence[LabelledReview], analyses: Sequence[ReviewAnalysis]) -> tuple[float, int]:
    """Share of top highlights that overlap the words that people marked for the keyword, and of how many."""
    inside = total = 0
    for review, analysis in zip(reviews, analyses, strict=True):
        for keyword in analysis.keywords:
            spans = review.evidence.get(keyword.keyword)
            if spans and keyword.highlights:
                top = keyword.highlights[0]
                total += 1
                inside += any(top.start < end and top.end > start for start, end in spans)
    return (inside / total if total else float("nan")), total


def sentiment_of_tagged_pairs(predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores ``[P]`` true and predicted, of every tagged (review, label) pair, whether its keyword is found or not."""
    labels = predictions.labels
    true, predicted = [], []
    for review, probs in zip(predictions.reviews, predictions.sentiment_probs, strict=True):
        for name, score in review.scores.items():
            true.append(score)
            predicted.append(labels.sentiment_scores[int(probs[labels.all_labels.index(name)].argmax())])
    return np.array(true), np.array(predicted)


def sentiment_tables(true: NDArray[Any], predicted: NDArray[Any], labels: Labels, *, graded: bool) -> dict[str, Table]:
    """The five-level table where the strength is known, and the table by sign."""
    index = {score: i for i, score in enumerate(labels.sentiment_scores)}
    tables = {}
    if graded:
        classes = [np.array([index[int(s)] for s in scores]) for scores in (true, predicted)]
        tables["sentiment"] = single_label_table(classes[0], classes[1], labels.sentiments)
    tables["sentiment by sign"] = single_label_table(np.sign(true) + 1, np.sign(predicted) + 1, ("-", "0", "+"))
    return tables


async def analyze(url: str, artifact: Artifact, texts: list[str], highlight: bool) -> list[ReviewAnalysis]:
    """Analyze texts, logging progress every ten seconds."""
    options = AnalysisOptions(highlight="exact" if highlight else "off")
    shown = time.monotonic()

    def progress(done: Any) -> None:
        nonlocal shown
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            log.info("%d of %d reviews done, %d rows computed", done.reviews, len(texts), done.rows)

    async with await ReviewAnalyzer.connect(url, artifact, options, BatchingOptions(request_timeout_s=120)) as analyzer:
        rows = [ReviewInput(text, str(i)) for i, text in enumerate(texts)]
        return [analysis async for analysis in analyzer.analyze_stream(rows, progress=progress)]


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate a repository on files of labelled reviews. Returns what is printed, as a tree."""
    artifact = Artifact.load(served_artifact_folder(args.repository))
    label_set = LabelSet.load(args.label_set)
    results: dict[str, Any] = {"model_version": artifact.labels.model_version, "split": args.split, "files": {}}
    with EmbeddedTriton(args.repository) as triton:
        for path in args.data:
            reviews = [r for r in read_labelled(path, label_set) if split_of(r.text) == args.split][: args.limit]
            if not reviews:
                raise InvalidInputError(f"{path}: no review of the {args.split} split in the file; bring more reviews")
            if any(review.targets for review in reviews) or not any(review.scores for review in reviews):
                raise InvalidInputError(
                    f"{path}: its reviews have probabilities or no labels at all, nothing to compare with; "
                    "bring labels (training/data.py tells the forms)"
                )
            log.info("%s: %d reviews of the %s split", path.name, len(reviews), args.split)
            with_words = any(review.evidence for review in reviews)
            analyses = asyncio.run(analyze(triton.grpc_url, artifact, [r.text for r in reviews], with_words))
            failed = [a for a in analyses if a.HasField("error")]
            if failed:
                raise InvalidInputError(f"{path}: {len(failed)} reviews failed, the first: {failed[0].error.message}")
            tables = {"keywords": keyword_table(reviews, analyses, artifact.labels)}
            true, predicted = sentiment_of_tagged_pairs(predict_repository(args.repository, reviews))
            tables |= sentiment_tables(true, predicted, artifact.labels, graded=all(r.graded for r in reviews))
            entry: dict[str, Any] = {"reviews": len(reviews), "tables": tables}
            print(f"## {path.name}: {len(reviews)} reviews\n")
            for name, table in tables.items():
                print(format_table(table, name), end="\n\n")
            if with_words:
                share, count = highlight_share(reviews, analyses)
                entry["highlights_inside_marked_words"] = {"share": share, "highlights": count}
                print(f"top highlights inside the words that people marked: {share:.3f} of {count}\n")
            results["files"][path.name] = entry
    return results


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, required=True, help="a Triton model repository that export wrote")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files of labelled reviews")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="(%(default)s)")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="test", help="which reviews (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, help="use only so many reviews of each file")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = parse_arguments(arguments)
    try:
        if args.output:
            with disk_errors(args.output.parent):
                args.output.parent.mkdir(parents=True, exist_ok=True)
        results = evaluate(args)
        if args.output:
            with disk_errors(args.output.parent):
                write_text(args.output, json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
