"""How long a graph takes beside another one, in onnxruntime in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from client.encoding import Encoder
from client.errors import InvalidReviewError

# rows x tokens: one short review, and a batch of masks.
SHAPES = {"1x32": (1, 32), "64x64": (64, 64)}
THREADS = 2


def seconds_side_by_side(
    files: Sequence[Path], feeds: Sequence[dict[str, NDArray[np.int64]]], rounds: int
) -> list[float]:
    """Median seconds of each graph on its feed; all run in turn, so that other load falls on all alike.

    The order turns round by round: where it was fixed, the second of two equal graphs came out 1.15 times as fast.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    # Threads of one session that spin would take the processor from the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files]
    times: list[list[float]] = [[] for _ in files]
    for number in range(rounds + 1):
        turns = list(zip(sessions, feeds, times, strict=True))
        for session, feed, taken in turns if number % 2 else reversed(turns):
            began = time.perf_counter()
            session.run(None, feed)
            if number:  # the first round warms up
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def feed_of(texts: Sequence[str], encoder: Encoder, shape: tuple[int, int]) -> dict[str, NDArray[np.int64]]:
    """Rows without padding from the tokens of the texts, one after another, again from the start where they end."""
    encoded = [review for review in encoder.encode_many(texts) if not isinstance(review, InvalidReviewError)]
    tokens = np.array([token for review in encoded for token in review.input_ids], np.int64)
    input_ids = np.resize(tokens, shape)
    input_ids[:, 0], input_ids[:, -1] = encoder.cls_id, encoder.sep_id
    return {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
