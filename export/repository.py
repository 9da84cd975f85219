"""Two checkpoints to a new version of a model repository: build, check, install."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from client.errors import InvalidInputError
from export.checkpoint import Pair, load_pair
from export.config import Accelerator, Target
from export.graphs import KeywordGraph, SentimentGraph, to_half, to_onnx
from export.install import Graphs, install, stage
from export.parity import Difference, ParityError, compare, ensemble_difference
from export.quantize import quantize
from export.runners import OnnxRunner, TorchRunner, TritonRunner
from export.samples import SHIPPED_REVIEWS, random_batches, review_batches
from export.versions import new_version
from server.embedded import EmbeddedTriton

log = logging.getLogger("export")

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: dict[Target, tuple[Precision, ...]] = {"cpu": ("int8", "fp32"), "gpu": ("fp16", "fp32")}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Report:
    """What an export wrote and measured.

    ``torch`` is the float32 graphs in onnxruntime against the checkpoints, ``loss`` the served graphs against these
    (None: they are the same), ``triton`` the served graphs in Triton against onnxruntime (None: not run).
    """

    version: int
    model_version: str
    torch: Difference
    loss: Difference | None
    triton: Difference | None


def export_repository(
    keyword_checkpoint: Path,
    sentiment_checkpoint: Path,
    repository: Path,
    *,
    target: Target = "cpu",
    precision: Precision | None = None,
    version: int | None = None,
    threads: int = 0,
    accelerator: Accelerator = "cuda",
    max_loss: float = 0.05,
    evaluation: Path | None = None,
    skip_triton: bool = False,
    prune: bool = False,
) -> Report:
    """Export two checkpoints as a new version, pinned in the configurations. Nothing is written before all checks pass.

    Args:
        keyword_checkpoint: folder whose classifier has one output a keyword.
        sentiment_checkpoint: folder whose classifier has one output a sentiment.
        repository: the model repository; created where there is none, else the new version stands beside the old ones.
        target: what the configurations are for.
        precision: of the graphs; by default int8 for "cpu" and fp16 for "gpu".
        version: number of the version; by default the next one.
        threads: onnxruntime's threads a model on a CPU, 0 for one a core.
        accelerator: execution provider of a GPU.
        max_loss: largest absolute difference of a probability that int8 or fp16 may cause on the evaluated reviews.
        evaluation: reviews to measure that loss on; by default the shipped samples, else random tokens.
        skip_triton: leave out the check in the embedded Triton.
        prune: leave the older versions out.

    Raises:
        ArtifactError: a checkpoint is missing, corrupt or does not fit the other, or the version exists.
        InvalidInputError: options that exclude one another, an evaluation file that cannot be read, or a disk that is
            full or read-only; the repository is as it was.
        ParityError: onnxruntime or Triton compute something else than torch, or the loss is above ``max_loss``.
        EmbeddedTritonError: the embedded Triton does not start with the new models.
    """
    precision = precision or PRECISIONS[target][0]
    if precision not in PRECISIONS[target]:
        raise InvalidInputError(f"precision {precision}: a {target} target takes {' or '.join(PRECISIONS[target])}")
    repository = repository.resolve()
    number = new_version(repository, version)
    pair = load_pair(keyword_checkpoint, sentiment_checkpoint)
    log.info("exporting %d keywords and %d sentiments", len(pair.labels.keywords), len(pair.labels.sentiments))
    exact = _graphs(pair)
    difference = _check_torch(pair, exact)
    served, loss = exact, None
    if precision != "fp32":
        served = (quantize(exact[0]), quantize(exact[1])) if precision == "int8" else _graphs(pair, half=True)
        loss = _measure_loss(pair, exact, served, precision, max_loss, evaluation)
    # Beside the repository: what is renamed must stay on its file system.
    with _writing(repository):
        repository.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".export-", dir=repository.parent)
    with folder:
        staged = Path(folder.name, "repository")
        with _writing(repository):
            serving = stage(staged, pair, served, number)
        triton = None if skip_triton else _check_triton(staged, pair, served)
        serving = replace(serving, target=target, threads=threads, accelerator=accelerator)
        with _writing(repository):
            install(staged, repository, serving, prune=prune)
    return Report(number, serving.labels.model_version, difference, loss, triton)


@contextmanager
def _writing(repository: Path) -> Iterator[None]:
    """Tell what the operating system refused; until the staged repository is renamed, nothing of the old one changes.

    Raises:
        InvalidInputError: a file or folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InvalidInputError(f"{repository}: cannot be written: {error}; what was there is as it was") from error


def _graphs(pair: Pair, *, half: bool = False) -> Graphs:
    labels = pair.labels
    keyword = KeywordGraph(pair.keyword.classifier, labels.keyword_temperature)
    sentiment = SentimentGraph(
        pair.sentiment.classifier, labels.sentiment_temperature, labels.thresholds, pair.prompts()
    )
    if half:
        to_half(keyword)
        to_half(sentiment)
    return to_onnx(keyword), to_onnx(sentiment)


def _check_torch(pair: Pair, graphs: Graphs) -> Difference:
    batches = random_batches(pair.encoder, pair.keyword.classifier.config.vocab_size)
    difference = compare(TorchRunner(pair), OnnxRunner(*graphs), batches, pair.labels.thresholds)
    log.info("onnxruntime against torch, fp32: %s", difference)
    difference.require(TOLERANCE, "onnxruntime against torch")
    return difference


def _measure_loss(
    pair: Pair, exact: Graphs, served: Graphs, precision: str, max_loss: float, evaluation: Path | None
) -> Difference:
    file = evaluation or (SHIPPED_REVIEWS if SHIPPED_REVIEWS.is_file() else None)
    if file:
        batches = review_batches(file, pair.encoder)
    else:
        batches = random_batches(pair.encoder, pair.keyword.classifier.config.vocab_size)
    loss = compare(OnnxRunner(*exact), OnnxRunner(*served), batches, pair.labels.thresholds)
    log.info("%s against fp32 on %s: %s", precision, file or "random tokens", loss)
    loss.require(max_loss, f"{precision} against fp32 (raise max_loss or export fp32)")
    return loss


def _check_triton(staged: Path, pair: Pair, served: Graphs) -> Difference:
    batches = random_batches(pair.encoder, pair.keyword.classifier.config.vocab_size)
    reference = OnnxRunner(*served)
    with EmbeddedTriton(staged) as server, TritonRunner(server.grpc_url) as triton:
        difference = compare(reference, triton, batches, pair.labels.thresholds)
        chained = ensemble_difference(reference, triton, batches)
    log.info("Triton against onnxruntime: %s; ensemble max %.1e", difference, chained)
    difference.require(TOLERANCE, "Triton against onnxruntime")
    if not chained <= TOLERANCE:
        raise ParityError(f"the ensemble in Triton: the largest difference is {chained:.2e}, above {TOLERANCE:g}")
    return difference
