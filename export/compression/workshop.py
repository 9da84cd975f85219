"""The workshop: makes the checkpoints and the graphs of variants, each step once.

Every run of steps is a pair of ordinary checkpoints in a folder of its own, so variants that begin alike share them,
and an interrupted command goes on where it was.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, sha256_of
from client.encoding import Encoder
from client.errors import InvalidInputError
from export.checkpoint import WEIGHTS_FILE, Pair, load_pair
from export.compression.importance import Batch, Importance, estimate
from export.compression.integers import dynamic_int8, static_int8
from export.compression.prune import prune_feed_forward, prune_heads, prune_layers, prune_magnitude
from export.compression.reviews import SEED, Reviews
from export.compression.variants import Precision, Step, Variant
from export.compression.vocabulary import count_pieces, trim_embeddings, trim_tokenizer
from export.graphs import KeywordGraph, SentimentGraph, to_onnx
from export.quantize import quantize
from export.samples import batches_of
from training.checkpoint import finish_checkpoint, load_backbone, replace_model, write_text
from training.distillation import Distillation, distill
from training.examples import (
    KeywordCollator,
    SentimentCollator,
    TokenBudgetSampler,
    encode_reviews,
    keyword_examples,
    sentiment_examples,
)
from training.held_out import evaluate_model
from training.losses import keyword_loss, sentiment_loss
from training.review_trainer import disk_errors
from training.trainer import Task

log = logging.getLogger("compression")

TASKS: tuple[Task, ...] = ("keyword", "sentiment")
IMPORTANCE_REVIEWS, CALIBRATION_REVIEWS = 512, 128
BATCH_TOKENS = 4096


class Workshop:
    """Makes variants of one pair of checkpoints in ``folder``."""

    def __init__(self, folder: Path, keyword: Path, sentiment: Path, reviews: Reviews) -> None:
        """Variants of other checkpoints or reviews get another folder inside of ``folder``.

        Raises:
            ArtifactError: the checkpoints are broken or do not belong together.
            InvalidInputError: they were trained with another label set.
        """
        labels = load_pair(keyword, sentiment).labels
        if labels.all_labels != reviews.label_set.all_labels or labels.sentiments != reviews.label_set.sentiments:
            raise InvalidInputError(
                f"--label-set: {keyword} was trained for {', '.join(labels.all_labels)}, not for "
                f"{', '.join(reviews.label_set.all_labels)}; give the label set of the checkpoints"
            )
        self.reviews = reviews
        given: dict[Task, Path] = {"keyword": keyword, "sentiment": sentiment}
        self.folder = folder / _digest(given.values(), reviews)
        # A copy: training may write new checkpoints in the same place while hours of work go on here.
        self.sources = {task: self.folder / "checkpoints" / "original" / task for task in TASKS}
        for task, source in self.sources.items():
            if not source.is_dir():
                temporary = source.with_suffix(".tmp")
                with disk_errors(self.folder):
                    shutil.copytree(given[task], temporary, dirs_exist_ok=True)
                    temporary.rename(source)

    def checkpoints(self, steps: Sequence[Step]) -> dict[Task, Path]:
        """The folders of both checkpoints after these steps.

        Raises:
            ReviewLensError: a step does not fit the model.
        """
        if not steps:
            return self.sources
        before = self.checkpoints(steps[:-1])
        name = str(Variant(tuple(steps)))
        targets: dict[Task, Path] = {task: self.folder / "checkpoints" / name / task for task in TASKS}
        for task in TASKS:
            if not (targets[task] / WEIGHTS_FILE).is_file():
                log.info("%s: %s", name, task)
                with disk_errors(self.folder):
                    self._take_step(steps[-1], task, before[task], targets[task])
        return targets

    def pair(self, variant: Variant) -> Pair:
        """Both checkpoints of a variant, read and checked."""
        folders = self.checkpoints(variant.steps)
        return load_pair(folders["keyword"], folders["sentiment"])

    def graphs(self, variant: Variant) -> dict[Task, Path]:
        """The files of both graphs of a variant."""
        files: dict[Task, Path] = {task: self.folder / "graphs" / str(variant) / f"{task}.onnx" for task in TASKS}
        if all(file.is_file() for file in files.values()):
            return files
        log.info("%s: graphs", variant)
        if variant.precision == "fp32":
            models = _float_graphs(self.pair(variant))
        else:
            exact = self.graphs(replace(variant, precision="fp32"))
            models = {task: self._to_int8(onnx.load(exact[task]), task, variant) for task in TASKS}
        for task, file in files.items():
            with disk_errors(self.folder):
                file.parent.mkdir(parents=True, exist_ok=True)
                temporary = file.with_suffix(".tmp")
                onnx.save(models[task], temporary)
                temporary.replace(file)
        return files

    def _to_int8(self, model: onnx.ModelProto, task: Task, variant: Variant) -> onnx.ModelProto:
        forms: dict[Precision, Callable[[], onnx.ModelProto]] = {
            "int8": lambda: quantize(model),
            "int8-onnxruntime": lambda: dynamic_int8(model),
            "int8-static": lambda: static_int8(model, self._feeds(task, variant)),
        }
        return forms[variant.precision]()

    def _feeds(self, task: Task, variant: Variant) -> list[dict[str, Any]]:
        """Inputs of a graph from training reviews; the sentiment graph is asked for what they are tagged with."""
        pair = self.pair(variant)
        encoded = list(encode_reviews(self.reviews.sample(CALIBRATION_REVIEWS), pair.encoder))
        rows = [[pair.encoder.cls_id, *e.input_ids, pair.encoder.sep_id] for _, e in encoded]
        feeds = []
        for numbers, batch in batches_of(rows, pair.encoder):
            feed: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            if task == "sentiment":
                tagged = [[name in encoded[n][0].scores for name in pair.labels.keywords] for n in numbers]
                feed["keyword_probs"] = np.array(tagged, np.float32)
            feeds.append(feed)
        return feeds

    def _take_step(self, step: Step, task: Task, before: Path, target: Path) -> None:
        """Write the checkpoint that ``step`` makes of the one before, calibrated anew."""
        work = target / "unfinished"
        work.mkdir(parents=True, exist_ok=True)
        artifact, label_set = Artifact.load(before), self.reviews.label_set
        encoder, tokenizer_json = Encoder(artifact), artifact.tokenizer_file.read_text(encoding="utf-8")
        outputs = len(label_set.keywords if task == "keyword" else label_set.sentiments)
        classifier: Any = load_backbone(str(before), outputs, 0.0, "eager")
        if step.name == "vocabulary":
            prompts = [artifact.labels.prompt.format(keyword=name) for name in label_set.all_labels]
            counts = count_pieces([review.text for review in self.reviews.train], encoder)
            counts.update(dict.fromkeys(count_pieces(prompts, encoder), int(step.amount)))
            tokenizer_json, kept = trim_tokenizer(tokenizer_json, counts, int(step.amount))
            trim_embeddings(classifier, kept)
        elif step.name == "distill":
            settings = Distillation(million_tokens=step.amount, attention="eager", seed=SEED)
            teacher, train = self.sources[task], self.reviews.train
            distill(task, teacher, classifier, encoder, train, label_set, settings, folder=work / "trainer")
        elif step.name == "magnitude":
            prune_magnitude(classifier, step.amount)
        else:
            self._prune(classifier, task, encoder, artifact.labels.prompt, step)
        write_text(work / TOKENIZER_FILE, tokenizer_json)
        labels = replace(artifact.labels, tokenizer_sha256=sha256_of(tokenizer_json.encode()))
        write_text(work / LABELS_FILE, labels.to_json())
        splits = {"validation": self.reviews.validation, "test": []}
        encoder = Encoder(Artifact.load(work))
        labels, results = evaluate_model(task, classifier, encoder, label_set, splits, labels)
        metrics = {"task": task, "step": str(step), "source": str(self.sources[task]), **results}
        card = f"# {labels.name}: {task} classifier, {target.parent.name}\n\nMade by `python -m export.compression`.\n"
        finish_checkpoint(work, target, classifier, labels, metrics, card)
        shutil.rmtree(work)

    def _prune(self, classifier: Any, task: Task, encoder: Encoder, prompt: str, step: Step) -> None:
        importance = self._importance(classifier, task, encoder, prompt)
        if step.name == "heads":
            prune_heads(classifier, importance.heads, step.amount)
        elif step.name == "feed-forward":
            prune_feed_forward(classifier, importance.units, step.amount)
        else:
            prune_layers(classifier, importance.layers, int(step.amount))

    def _importance(self, classifier: Any, task: Task, encoder: Encoder, prompt: str) -> Importance:
        reviews, label_set = self.reviews.sample(IMPORTANCE_REVIEWS), self.reviews.label_set
        examples: Sequence[Any]
        collate: Any
        if task == "keyword":
            examples, collate = keyword_examples(reviews, encoder, label_set), KeywordCollator(encoder, SEED)
        else:
            examples = sentiment_examples(reviews, encoder, label_set, prompt)
            collate = SentimentCollator(encoder)
        rows = TokenBudgetSampler([len(example) for example in examples], BATCH_TOKENS, SEED)

        def loss(logits: Any, batch: Batch) -> Any:
            if task == "keyword":
                return keyword_loss(logits, batch["targets"], batch["known"])
            return sentiment_loss(logits, batch["allowed"])

        return estimate(classifier, (collate([examples[i] for i in numbers]) for numbers in rows), loss)


def copy_checkpoints(folders: Mapping[Task, Path], target: Path) -> None:
    """Copy both checkpoints to ``target``, in place of those there; other files in their folders stay.

    Both are first copied in full beside the old ones, and then moved: a disk that fills up leaves these as they were.

    Raises:
        InvalidInputError: a file cannot be written.
    """
    incoming = {task: target / f".{task}.tmp" for task in folders}
    try:
        for task, folder in folders.items():
            shutil.rmtree(incoming[task], ignore_errors=True)
            shutil.copytree(folder, incoming[task])
        for task, folder in incoming.items():
            (target / task).mkdir(exist_ok=True)
            replace_model(folder, target / task)
    except OSError as error:
        raise InvalidInputError(
            f"--checkpoints {target}: cannot be written: {error}; make room and run the command again"
        ) from error
    finally:
        for folder in incoming.values():
            shutil.rmtree(folder, ignore_errors=True)


def _float_graphs(pair: Pair) -> dict[Task, onnx.ModelProto]:
    labels = pair.labels
    keyword = KeywordGraph(pair.keyword.classifier, labels.keyword_temperature)
    sentiment = SentimentGraph(
        pair.sentiment.classifier, labels.sentiment_temperature, labels.thresholds, pair.prompts()
    )
    return {"keyword": to_onnx(keyword), "sentiment": to_onnx(sentiment)}


def _digest(checkpoints: Iterable[Path], reviews: Reviews) -> str:
    """A short name for what the variants are made from."""
    files = [folder / name for folder in checkpoints for name in (WEIGHTS_FILE, LABELS_FILE, TOKENIZER_FILE)]
    parts = [sha256_of(file.read_bytes()) for file in files]
    texts = (f"{r.text}{sorted(r.scores.items())}" for part in (reviews.train, reviews.validation) for r in part)
    return sha256_of("".join([*parts, *texts]).encode())[:12]
