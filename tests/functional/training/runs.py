"""Fine-tuning with settings small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

from training import finetune


def arguments(task: str, corpora: Path, backbone: Path, out: Path, epochs: float, *more: str) -> list[str]:
    """The command line of ``training.finetune``; ``more`` wins over what stands before it."""
    command = [task, "--train", str(corpora / "labelled.jsonl.gz"), "--output", str(out), "--epochs", str(epochs)]
    command += ["--backbone", str(backbone), "--learning-rate", "3e-3", "--token-budget", "1024", "--no-bf16"]
    return [*command, "--max-length", "64", "--attention", "eager", "--dropout", "0", *more]


def run(
    task: str, corpora: Path, backbone: Path, out: Path, epochs: float, *more: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Fine-tune; returns the tables of the test split."""
    assert finetune.main(arguments(task, corpora, backbone, out, epochs, *more)) == 0
    tables: dict[str, dict[str, dict[str, float]]] = json.loads((out / "metrics.json").read_text())["test"]
    return tables
