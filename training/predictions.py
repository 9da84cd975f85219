"""What a version of a model repository says of labelled reviews: its ONNX models, run in this process.

No server and no windows: for bootstraps, plots and tables that ask thousands of reviews many times. What users get,
through Triton, is measured by ``training.evaluate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from client.artifact import Artifact, Labels
from client.batching import pack, padded
from client.encoding import Encoder
from client.errors import ArtifactError
from client.served import served_artifact_folder
from export.install import MODEL_FILE
from training.data import LabelledReview
from training.examples import encode_reviews

MAX_ROWS = 64


@dataclass(frozen=True)
class Predictions:
    """``keyword_probs`` FP32 ``[N, K]``; ``sentiment_probs`` FP32 ``[N, K+1, S]`` of every tagged label, else 0.

    A tagged label's sentiment is asked whether its keyword is found or not. Reviews longer than a window are cut.
    """

    labels: Labels
    reviews: tuple[LabelledReview, ...]
    keyword_probs: NDArray[np.float32]
    sentiment_probs: NDArray[np.float32]


def model_file(repository: Path, model: str, version: str) -> Path:
    """The ONNX file of ``keyword_classifier`` or ``sentiment_classifier``."""
    return repository / model / version / MODEL_FILE


def open_model(repository: Path, model: str, version: str, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the CPU; ``threads`` 0 is all cores.

    Raises:
        ArtifactError: there is no such file.
    """
    file = model_file(repository, model, version)
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file; the version was not exported whole")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def predict_repository(
    repository: Path, reviews: Sequence[LabelledReview], *, version: str | None = None
) -> Predictions:
    """Predict with ``version`` (a folder name), or the one that is served.

    Raises:
        ArtifactError: the repository or the version is not whole.
    """
    folder = repository / "review_analysis" / version if version else served_artifact_folder(repository)
    artifact = Artifact.load(folder)
    labels, encoder = artifact.labels, Encoder(artifact)
    keyword = open_model(repository, "keyword_classifier", folder.name)
    sentiment = open_model(repository, "sentiment_classifier", folder.name)
    encoded = list(encode_reviews(reviews, encoder))
    rows = [(encoder.cls_id, *e.input_ids, encoder.sep_id) for _, e in encoded]
    tagged = np.array([[name in r.scores for name in labels.keywords] for r, _ in encoded], np.float32)
    overall = np.array([labels.overall in r.scores for r, _ in encoded])
    keyword_probs = np.zeros((len(rows), len(labels.keywords)), np.float32)
    sentiment_probs = np.zeros((len(rows), len(labels.all_labels), len(labels.sentiments)), np.float32)
    for batch in pack([len(row) for row in rows], max_rows=MAX_ROWS):
        input_ids, attention_mask = padded(rows, batch, encoder.pad_id)
        chosen = list(batch.rows)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        (keyword_probs[chosen],) = keyword.run(["keyword_probs"], feed)
        # A probability of 1 is over every threshold: the graph is asked for the tagged keywords and no others.
        (sentiment_probs[chosen],) = sentiment.run(["sentiment_probs"], {**feed, "keyword_probs": tagged[chosen]})
    sentiment_probs[~overall, -1] = 0
    return Predictions(labels, tuple(review for review, _ in encoded), keyword_probs, sentiment_probs)
