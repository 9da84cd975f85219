"""Write the input that ``perf_analyzer`` sends: the sample reviews as tokens of the shipped model.

    python -m benchmarks.perf_input

A test compares the file that the repository ships with what this writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from client.artifact import Artifact
from client.encoding import Encoder
from client.served import served_artifact_folder

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "benchmarks" / "perf_analyzer_input.json"


def perf_input(repository: Path, reviews: Path) -> str:
    """The JSON text: an entry a review, as https://github.com/triton-inference-server/perf_analyzer documents it."""
    encoder = Encoder(Artifact.load(served_artifact_folder(repository)))
    entries = []
    for text in reviews.read_text(encoding="utf-8").splitlines():
        ids = [encoder.cls_id, *encoder.encode(text).input_ids, encoder.sep_id]
        inputs = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        entries.append({name: {"content": values, "shape": [len(ids)]} for name, values in inputs.items()})
    return json.dumps({"data": entries}) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.perf_input", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--reviews", type=Path, default=ROOT / "samples" / "reviews.txt")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    args.output.write_text(perf_input(args.repository, args.reviews), encoding="utf-8")


if __name__ == "__main__":
    main()
