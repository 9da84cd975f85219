"""Soften labels with a trained keyword classifier: ``python -m training.relabel --help``.

People miss or add about one keyword in twelve. A classifier that learned from all of them, and last from labels under
the guideline, disagrees with a label mostly where the label is wrong. The mean of both is a soft target: training on
it again (self-distillation) forgets single mistakes and keeps what labels and classifier agree on. Keywords that the
source does not annotate get the classifier's probability alone. Only reviews of the training split are written.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from scipy.special import expit

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.checkpoint import load_backbone
from training.corpus import split_of
from training.data import LabelSet, read_labelled
from training.examples import KeywordCollator, keyword_examples
from training.finetune import DEFAULT_LABEL_SET
from training.review_trainer import predict_logits


def relabel(checkpoint: Path, data: Path, output: Path, label_set: LabelSet, weight: float) -> int:
    """Write ``{id, text, targets{keyword: 0..1}, evidence}`` lines, all or none; returns how many.

    ``weight`` is the classifier's share of a target that people annotated.

    Raises:
        ReviewLensError: checkpoint or data cannot be used, or the output cannot be written.
    """
    if not output.parent.is_dir():
        raise InvalidInputError(f"--output {output}: there is no folder {output.parent}; make it first")
    artifact = Artifact.load(checkpoint)
    encoder = Encoder(artifact)
    model = load_backbone(str(checkpoint), len(label_set.keywords), 0.0, "eager").float()
    reviews = [r for r in read_labelled(data, label_set) if split_of(r.text) == "train"]
    examples = keyword_examples(reviews, encoder, label_set)
    logits = predict_logits(model, examples, KeywordCollator(encoder, 0, mask_words=False))
    probs = expit(logits / artifact.labels.keyword_temperature)
    with _whole_gzip(output) as out:
        for example, row in zip(examples, probs, strict=True):
            share = np.where(example.known > 0, weight, 1.0)
            targets = share * row + (1 - share) * example.targets
            line = {
                "id": example.review.id,
                "text": example.review.text,
                "targets": dict(zip(label_set.keywords, np.round(targets, 3).tolist(), strict=True)),
                "evidence": example.review.evidence,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(examples)


@contextmanager
def _whole_gzip(path: Path) -> Iterator[TextIO]:
    """A compressed text file that is the old one or, once it is written to its end, the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with gzip.open(temporary, "wt", encoding="utf-8") as out:
            yield out
        temporary.replace(path)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error}; what was there is as it was") from error
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.relabel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="a keyword checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="labelled reviews to soften")
    parser.add_argument("--output", type=Path, required=True, help="a .jsonl.gz file")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET)
    parser.add_argument("--weight", type=float, default=0.5, help="the classifier's share (default: %(default)s)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        count = relabel(args.checkpoint, args.data, args.output, LabelSet.load(args.label_set), args.weight)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.getLogger("relabel").info("%s: %d reviews", args.output, count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
