"""Measuring a variant: size, quality on held-out reviews, highlights against the uncompressed model, latency."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import onnx

from client.artifact import sha256_of
from client.whole_files import write_whole
from export.compression.latency import SHAPES, feed_of, seconds_side_by_side
from export.compression.quality import TopWords, company_effect, keyword_table, sentiment_table, top_words
from export.compression.reviews import SEED
from export.compression.variants import Variant
from export.compression.workshop import Workshop
from export.runners import OnnxRunner
from training.review_trainer import disk_errors

log = logging.getLogger("compression")

COMPANY_REVIEWS = 32
UNCOMPRESSED = Variant()


@dataclass(frozen=True)
class Measurement:
    """One row of the table. Sizes are bytes of both graphs and the tokenizer, as files and compressed by gzip.

    ``by_keyword`` and ``by_sentiment`` hold F1, ``keyword_labels`` how many labels of the test split it is of.
    ``company`` is the largest change of a probability by batch mates. ``milliseconds`` of the keyword graph and
    ``speedup`` over the uncompressed one, measured in turn, are by shape.
    """

    variant: str
    size: int
    compressed_size: int
    keyword_micro: float
    keyword_macro: float
    by_keyword: Mapping[str, float]
    keyword_labels: Mapping[str, int]
    sentiment_accuracy: float
    sentiment_macro: float
    by_sentiment: Mapping[str, float]
    highlight_agreement: float
    company: float
    milliseconds: Mapping[str, float]
    speedup: Mapping[str, float]


class Meter:
    """Measures the variants of a workshop on its test reviews, each once: figures are kept beside what it made."""

    def __init__(self, workshop: Workshop, *, highlight_reviews: int = 200, rounds: int = 15) -> None:
        """``highlight_reviews`` are masked word by word; ``rounds`` is how often each shape is timed."""
        self.workshop = workshop
        self._rounds = rounds
        test = workshop.reviews.test
        chosen = np.random.default_rng(SEED).permutation(len(test))[:highlight_reviews]
        self._masked = [test[i] for i in chosen]
        settings: list[object] = [[r.text, sorted(r.scores.items())] for r in test]
        # Figures of a version that measured others cannot be judged: they are taken anew.
        settings += [len(self._masked), rounds, [field.name for field in fields(Measurement)]]
        self._folder = workshop.folder / "measured" / sha256_of(json.dumps(settings).encode())[:12]
        self._reference: TopWords | None = None

    def measure(self, variant: Variant) -> Measurement:
        """Make the variant and measure it, or read what was measured before.

        Raises:
            ReviewLensError: a step does not fit the model.
        """
        file = self._folder / f"{variant}.json"
        if not file.is_file():
            found = self._measure(variant)
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(found), ensure_ascii=False, indent=1) + "\n")
        return Measurement(**json.loads(file.read_text(encoding="utf-8")))

    def _measure(self, variant: Variant) -> Measurement:
        files = self.workshop.graphs(variant)
        pair = self.workshop.pair(variant)
        encoder, labels, test = pair.encoder, pair.labels, self.workshop.reviews.test
        log.info("%s: measuring", variant)
        runner = OnnxRunner(*(onnx.load(file) for file in files.values()))
        keywords = keyword_table(runner, test, encoder, labels)
        sentiments = sentiment_table(runner, test, encoder, labels)
        found = top_words(runner, self._masked, encoder, labels)
        if variant == UNCOMPRESSED:
            self._reference = found
        seconds = self._seconds(variant)
        parts = [file.read_bytes() for file in (*files.values(), pair.keyword.artifact.tokenizer_file)]
        return Measurement(
            variant=str(variant),
            size=sum(map(len, parts)),
            compressed_size=sum(len(gzip.compress(part, 6, mtime=0)) for part in parts),
            keyword_micro=keywords["micro avg"]["f1"],
            keyword_macro=keywords["macro avg"]["f1"],
            by_keyword={name: keywords[name]["f1"] for name in labels.keywords},
            keyword_labels={name: int(keywords[name]["support"]) for name in labels.keywords},
            sentiment_accuracy=sentiments["accuracy"]["f1"],
            sentiment_macro=sentiments["macro avg"]["f1"],
            by_sentiment={name: sentiments[name]["f1"] for name in labels.sentiments},
            highlight_agreement=found.agreement(self._uncompressed_words()),
            company=company_effect(runner, test[:COMPANY_REVIEWS], encoder),
            milliseconds={shape: now * 1000 for shape, (_, now) in seconds.items()},
            speedup={shape: before / now for shape, (before, now) in seconds.items()},
        )

    def _uncompressed_words(self) -> TopWords:
        if self._reference is None:
            files, pair = self.workshop.graphs(UNCOMPRESSED), self.workshop.pair(UNCOMPRESSED)
            runner = OnnxRunner(*(onnx.load(file) for file in files.values()))
            self._reference = top_words(runner, self._masked, pair.encoder, pair.labels)
        return self._reference

    def _seconds(self, variant: Variant) -> dict[str, tuple[float, float]]:
        """By shape: of the uncompressed keyword graph, and of the variant's."""
        texts = [review.text for review in self._masked]
        files = [self.workshop.graphs(v)["keyword"] for v in (UNCOMPRESSED, variant)]
        encoders = [self.workshop.pair(v).encoder for v in (UNCOMPRESSED, variant)]
        result = {}
        for name, shape in SHAPES.items():
            feeds = [feed_of(texts, encoder, shape) for encoder in encoders]
            # A short call is over in milliseconds, in which other load shows more.
            rounds = self._rounds * (10 if shape[0] == 1 else 1)
            before, now = seconds_side_by_side(files, feeds, rounds)
            result[name] = before, now
        return result
