"""What goes into and comes out of an analysis: input rows, and results as the messages of ``reviewlens.v1``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from reviewlens.v1 import review_analysis_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.artifact import Labels
from client.errors import InvalidInputError, ReviewLensError
from client.highlights import Highlight

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ReviewInput:
    """A review to analyze. ``line`` is its 1-based line or row in the input file, None where there is no file."""

    text: str
    id: str = ""
    line: int | None = None


@dataclass(frozen=True)
class InvalidRow:
    """A row of an input file that holds no review. It keeps its place among the results as an error."""

    id: str
    line: int
    error: InvalidInputError


def _valid(text: str) -> str:
    """The text with replacement characters for surrogates."""
    return _SURROGATE.sub("\ufffd", text)


def failed_analysis(row: ReviewInput | InvalidRow, error: ReviewLensError, model_version: str = "") -> ReviewAnalysis:
    """The result of a review that could not be analyzed: its id and text with the error's code and message."""
    text = row.text if isinstance(row, ReviewInput) else ""
    return ReviewAnalysis(
        id=_valid(row.id),
        text=_valid(text),
        model_version=model_version,
        error=pb.ReviewError(code=error.code, message=_valid(str(error)), line=row.line),
    )


@dataclass(frozen=True)
class Findings:
    """What the model found in a text.

    ``keyword_probs`` FP32 [K], ``sentiment_probs`` FP32 [K+1,S] with the overall label last and zeros for labels
    that are not predicted or not wanted, ``highlights`` by keyword column.
    """

    keyword_probs: NDArray[np.float32]
    sentiment_probs: NDArray[np.float32]
    highlights: dict[int, list[Highlight]] = field(default_factory=dict)

    @cached_property
    def predicted(self) -> list[int]:
        """Columns of the predicted keywords: those that the model gave a sentiment for, by a threshold of its own."""
        columns: list[int] = self.sentiment_probs[:-1].any(axis=1).nonzero()[0].tolist()
        return columns


def finished_analysis(row: ReviewInput, findings: Findings, labels: Labels, model_version: str) -> ReviewAnalysis:
    """The result of an analyzed review: keywords by falling probability, the overall label, if it is wanted, last."""
    keyword_probs = [*findings.keyword_probs.tolist(), 1.0]
    by_probability = sorted(findings.predicted, key=lambda keyword: -keyword_probs[keyword])
    analysis = ReviewAnalysis(id=_valid(row.id), text=row.text, model_version=model_version)
    overall = [len(labels.keywords)] if findings.sentiment_probs[-1].any() else []
    for number in by_probability + overall:
        sentiment = int(findings.sentiment_probs[number].argmax())
        analysis.keywords.add(
            keyword=labels.all_labels[number],
            probability=keyword_probs[number],
            sentiment=labels.sentiments[sentiment],
            score=labels.sentiment_scores[sentiment],
            sentiment_probabilities=findings.sentiment_probs[number].tolist(),
            highlights=[
                pb.Highlight(
                    text=found.word.text,
                    start=found.word.start,
                    end=found.word.end,
                    probability=found.probability,
                    masked_probability=found.masked_probability,
                )
                for found in findings.highlights.get(number, ())
            ],
        )
    return analysis


def to_dict(analysis: ReviewAnalysis) -> dict[str, Any]:
    """The proto JSON mapping in snake_case: fields in the proto's order, those at their default (a score of 0) too."""
    values = json_format.MessageToDict(
        analysis, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _in_field_order(values, ReviewAnalysis.DESCRIPTOR)


def _in_field_order(values: dict[str, Any], descriptor: Any) -> dict[str, Any]:
    """The mapping puts fields at their default last; readers look for them in their place."""
    ordered: dict[str, Any] = {}
    for field_descriptor in descriptor.fields:
        if (value := values.get(field_descriptor.name)) is None:
            continue
        if isinstance(value, dict):
            value = _in_field_order(value, field_descriptor.message_type)
        elif field_descriptor.message_type:
            value = [_in_field_order(item, field_descriptor.message_type) for item in value]
        ordered[field_descriptor.name] = value
    return ordered
