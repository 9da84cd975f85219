"""The steps of the loop, in order. Each reads and writes files of the run's folder and returns what the report tells.

A step that was killed is done again from its beginning (training: from its last checkpoint), so each may find files of
its own from before. Heavy imports wait until a step needs them: rolling back needs neither torch nor scikit-learn.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from client.served import served_version
from client.whole_files import write_whole
from training.corpus import split_of
from training.loop.bootstrap import Difference
from training.loop.decision import Rule
from training.loop.decision import decide as apply_rule
from training.loop.files import write_rows
from training.loop.labelling import LABELLED, SELECTED, ask, label_set_of, take_labels
from training.loop.options import file_of
from training.loop.promotion import promote
from training.loop.settings import Run

CHALLENGER = "challenger"


def select(run: Run) -> dict[str, Any]:
    """Choose the reviews to label, of the training split: the others would never be trained on."""
    from training.selection import DEFAULT_QUOTAS, read_pool
    from training.selection import select as choose
    from training.selection.pool import read_texts
    from training.selection.quotas import parse_quotas

    settings = run.settings
    pool = read_pool(Path(settings.pool))
    selected = choose(
        [review for review in pool if split_of(review.text) == "train"],
        settings.count,
        Path(settings.repository),
        training_texts=[text for file in settings.train for text in read_texts(file_of(file))],
        checkpoint=Path(settings.checkpoint) if settings.checkpoint else None,
        quotas=parse_quotas(settings.quotas) if settings.quotas else DEFAULT_QUOTAS,
        seed=settings.seed,
    )
    write_rows(run.folder / SELECTED, ({**vars(s.review), "strategy": s.strategy, "why": s.why} for s in selected))
    counts = Counter(s.strategy for s in selected)
    examples = {s.strategy: s.why for s in reversed(selected)}
    strategies = {name: {"reviews": count, "first": examples[name]} for name, count in counts.items()}
    return {"pool": len(pool), "reviews": len(selected), "strategies": strategies}


def train(run: Run, task: str) -> dict[str, Any]:
    """Fine-tune one classifier on the present training data and the new labels."""
    from training.finetune import finetune, parse_arguments

    settings = run.settings
    output = run.folder / task
    files = [*settings.train, str(run.folder / LABELLED)]
    options = shlex.split(settings.training)
    if task == "sentiment":
        options += shlex.split(settings.sentiment_training)
    arguments = [task, "--train", *files, "--output", str(output), "--label-set", settings.label_set, *options]
    told = parse_arguments(arguments)
    named = [*map(file_of, told.train), told.label_set, *([told.decisions] if told.decisions else [])]
    # What an interrupted training left behind is gone on with only where nothing has changed.
    digest = training_digest(arguments, named, Path(told.recipe.backbone))
    fingerprint = run.folder / f"{task}.sha256"
    if not fingerprint.is_file() or fingerprint.read_text() != digest:
        shutil.rmtree(output, ignore_errors=True)
        write_whole(fingerprint, digest)
    metrics = finetune(told)
    averages = ("micro avg", "macro avg", "accuracy")
    test = {kind: {name: table[name] for name in averages if name in table} for kind, table in metrics["test"].items()}
    return {"command": shlex.join(["python", "-m", "training.finetune", *arguments]), "test": test}


def training_digest(arguments: Sequence[str], files: Sequence[Path], backbone: Path) -> str:
    """SHA-256 of a training's arguments and of what stands in the files and the backbone that they name.

    ``backbone`` may be a name on the hub, which has no files here.

    Raises:
        InvalidInputError: a file cannot be read.
    """
    digest = hashlib.sha256("\0".join(arguments).encode())
    weights = sorted(path for path in backbone.iterdir() if path.is_file()) if backbone.is_dir() else []
    for path in (*files, *weights):
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be read: {error.strerror}; the training needs it") from None
    return digest.hexdigest()


def export_challenger(run: Run) -> dict[str, Any]:
    """Export both checkpoints, through all of export's checks, to a repository of their own."""
    from export.repository import export_repository
    from export.versions import new_version, serving_target

    settings = run.settings
    repository = Path(settings.repository)
    shutil.rmtree(run.folder / CHALLENGER, ignore_errors=True)
    report = export_repository(
        run.folder / "keyword",
        run.folder / "sentiment",
        run.folder / CHALLENGER,
        target=serving_target(repository),
        precision=settings.precision,  # type: ignore[arg-type]  # checked there
        version=new_version(repository),
        max_loss=settings.max_loss,
        evaluation=Path(settings.evaluation) if settings.evaluation else None,
    )
    return {"model_version": report.model_version, "precision_loss": str(report.loss) if report.loss else None}


def compare(run: Run) -> dict[str, Any]:
    """Compare the challenger with what the repository serves."""
    from training.loop.comparison import compare as compare_repositories

    settings = run.settings
    comparison = compare_repositories(
        Path(settings.repository),
        run.folder / CHALLENGER,
        [Path(file) for file in settings.held_out],
        label_set_of(run),
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return asdict(comparison)


def decide(run: Run) -> dict[str, Any]:
    """Promote the challenger when the rule says so, else say why not."""
    settings, compared = run.settings, run.finished["compare"]
    metrics = {name: Difference(**row) for name, row in compared["metrics"].items()}
    decision = apply_rule(metrics, Rule(settings.primary, settings.tolerance))
    result: dict[str, Any] = {"better": decision.promote, "reasons": list(decision.reasons), "promoted": None}
    if decision.promote and settings.promote:
        change = promote(
            run.folder / CHALLENGER, Path(settings.repository), decision.reasons[0], champion=compared["champion"]
        )
        result["promoted"] = {"version": change.after, "model_version": change.model_version}
    result["served"] = served_version(Path(settings.repository))
    return result


STEPS: Mapping[str, Callable[[Run], dict[str, Any]]] = {
    "select": select,
    "ask": ask,
    "labels": take_labels,
    "keyword": lambda run: train(run, "keyword"),
    "sentiment": lambda run: train(run, "sentiment"),
    "challenger": export_challenger,
    "compare": compare,
    "decide": decide,
}
