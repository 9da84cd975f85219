"""Windows or truncation for reviews that are longer than the model reads: which finds more of the labels?

    python -m benchmarks.long_reviews --data people.jsonl.gz

Few reviews exceed the model's own length, so it is lowered: of the test split's reviews that do not fit then, each is
read whole (the model's own length), cut at the lowered length, and in windows of the lowered length whose keyword
probabilities are merged by their maximum. Micro and macro F1 of the keywords that the file annotates.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from client.artifact import Artifact
from client.batching import buckets_up_to, pack, padded
from client.encoding import EncodedReview, Encoder
from client.errors import InvalidReviewError
from client.masking import Row, plan_rows
from client.served import served_artifact_folder
from client.windows import Window, merge_keyword_probs, plan_windows
from training.corpus import split_of
from training.data import LabelSet, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.metrics import multi_label_table
from training.predictions import model_file

ROOT = Path(__file__).resolve().parent.parent


def keyword_probs(
    reviews: Sequence[EncodedReview], windows: Sequence[Sequence[Window]], encoder: Encoder, model: Path
) -> NDArray[np.float32]:
    """Merged probabilities ``[N, K]`` of reviews read through the given windows."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rows: list[Row] = []
    for number, (review, its_windows) in enumerate(zip(reviews, windows, strict=True)):
        rows += plan_rows(number, review, its_windows, encoder)
    input_ids = [row.input_ids for row in rows]
    probs: dict[int, list[NDArray[np.float32]]] = {}
    for batch in pack([len(ids) for ids in input_ids], buckets=buckets_up_to(encoder.max_length)):
        ids, mask = padded(input_ids, batch, encoder.pad_id)
        (found,) = session.run(["keyword_probs"], {"input_ids": ids, "attention_mask": mask})
        for row, values in zip(batch.rows, found, strict=True):
            probs.setdefault(rows[row].review, []).append(values)
    return np.stack([merge_keyword_probs(np.stack(probs[number])) for number in range(len(reviews))])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_reviews",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled reviews (training/data.py tells the forms)")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--length", type=int, default=64, help="lowered length in tokens (default: %(default)s)")
    args = parser.parse_args()
    folder = served_artifact_folder(args.repository)
    artifact, label_set = Artifact.load(folder), LabelSet.load(DEFAULT_LABEL_SET)
    encoder, labels = Encoder(artifact), artifact.labels
    reviews, encoded = [], []
    for review in read_labelled(args.data, label_set):
        if split_of(review.text) == "test":
            found = encoder.encode_many([review.text])[0]
            if (
                not isinstance(found, InvalidReviewError)
                and args.length < len(found.input_ids) + 2 <= labels.max_length
            ):
                reviews.append(review)
                encoded.append(found)
    names = [name for name in labels.keywords if all(name in review.annotated for review in reviews)]
    true = np.array([[name in review.scores for name in names] for review in reviews])
    columns = [labels.keywords.index(name) for name in names]
    ways: dict[str, Sequence[Sequence[Window]]] = {
        "whole": [(Window(0, len(e.input_ids)),) for e in encoded],
        "cut": [(Window(0, args.length - 2),) for e in encoded],
        "windows": [plan_windows(e, args.length) for e in encoded],
    }
    model = model_file(args.repository, "keyword_classifier", folder.name)
    print(f"{len(reviews)} reviews of more than {args.length} tokens\n\nway      micro F1  macro F1")
    for way, windows in ways.items():
        probs = keyword_probs(encoded, windows, encoder, model)
        table = multi_label_table(true, (probs >= np.array(labels.thresholds))[:, columns], names)
        print(f"{way:<8} {table['micro avg']['f1']:8.3f}  {table['macro avg']['f1']:8.3f}")


if __name__ == "__main__":
    main()
