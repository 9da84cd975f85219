"""The model artifact: what must agree with the weights and therefore travels with them.

``labels.json`` holds the label set, thresholds, temperatures, prompt and maximum length, ``tokenizer.json`` the
tokenizer. Training writes both into a checkpoint, export into ``<repository>/review_analysis/<version>/``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from client.errors import ArtifactError

LABELS_FILE = "labels.json"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class SpecialTokens:
    """Spelling of the tokens that frame, pad and mask a text."""

    cls: str = "<s>"
    pad: str = "<pad>"
    sep: str = "</s>"
    mask: str = "<mask>"


@dataclass(frozen=True)
class Labels:
    """The label set with everything that the weights were calibrated for.

    ``keywords`` are the K columns of the keyword head, in order, each with its ``threshold`` (predicted when
    probability >= threshold). ``overall`` is asked of every review and never predicted. ``sentiments`` are the
    classes of the sentiment head, most negative first, with their ``sentiment_scores``. ``max_length`` counts
    tokens of one window, special tokens included.
    """

    name: str
    keywords: tuple[str, ...]
    overall: str
    sentiments: tuple[str, ...]
    sentiment_scores: tuple[int, ...]
    thresholds: tuple[float, ...]
    max_length: int
    prompt: str = "{keyword}"
    keyword_temperature: float = 1.0
    sentiment_temperature: float = 1.0
    special_tokens: SpecialTokens = field(default_factory=SpecialTokens)
    tokenizer_sha256: str = ""
    model_version: str = ""

    def __post_init__(self) -> None:
        names = [*self.keywords, self.overall]
        if not self.keywords:
            raise ArtifactError("labels.json: keywords: the list is empty; name at least one keyword")
        if duplicates := {n for n in names if names.count(n) > 1}:
            raise ArtifactError(f"labels.json: keywords: {sorted(duplicates)} stand more than once")
        if len(self.thresholds) != len(self.keywords):
            raise ArtifactError(
                f"labels.json: thresholds: {len(self.thresholds)} values for {len(self.keywords)} keywords"
            )
        for keyword, threshold in zip(self.keywords, self.thresholds, strict=True):
            if not 0 < threshold < 1:
                raise ArtifactError(f"labels.json: thresholds: {threshold} for {keyword!r} is not between 0 and 1")
        if len(self.sentiments) != len(self.sentiment_scores) or len(self.sentiments) < 2:
            raise ArtifactError("labels.json: sentiments and sentiment_scores must be equally long, two at least")
        if self.keyword_temperature <= 0 or self.sentiment_temperature <= 0:
            raise ArtifactError("labels.json: temperatures must be above 0")
        if self.max_length < 8:
            raise ArtifactError(f"labels.json: max_length: {self.max_length} is too short; 8 at least")
        if "{keyword}" not in self.prompt:
            raise ArtifactError(f"labels.json: prompt: {self.prompt!r} does not contain {{keyword}}")

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The K+1 rows of ``sentiment_probs``: keywords in order, ``overall`` last."""
        return (*self.keywords, self.overall)

    def to_json(self) -> str:
        """The text of ``labels.json``."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = LABELS_FILE) -> Labels:
        """Parse ``labels.json``.

        Raises:
            ArtifactError: names the file and the field that is missing, unknown or out of range.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise ArtifactError(f"{source}: not JSON: {error}") from None
        known = {f.name for f in fields(cls)}
        if not isinstance(values, dict) or (unknown := set(values) - known):
            raise ArtifactError(f"{source}: unknown fields {sorted(unknown) if isinstance(values, dict) else values!r}")
        try:
            special = SpecialTokens(**values.pop("special_tokens", {}))
            for name in ("keywords", "sentiments", "sentiment_scores", "thresholds"):
                values[name] = tuple(values[name])
            return cls(**values, special_tokens=special)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{source}: missing or malformed field: {error}") from None


@dataclass(frozen=True)
class Artifact:
    """A folder with ``labels.json`` and ``tokenizer.json``, read and checked against one another."""

    folder: Path
    labels: Labels
    labels_sha256: str
    tokenizer_file: Path

    @classmethod
    def load(cls, folder: Path) -> Artifact:
        """Read an artifact folder.

        Raises:
            ArtifactError: a file is missing or malformed, or the tokenizer is not the one of the labels.
        """
        labels_file, tokenizer_file = folder / LABELS_FILE, folder / TOKENIZER_FILE
        for file in (labels_file, tokenizer_file):
            if not file.is_file():
                raise ArtifactError(f"{file}: no such file; point to a folder that export or training wrote")
        try:
            text = labels_file.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{labels_file}: not UTF-8: {error}; export the model again") from None
        labels = Labels.from_json(text, str(labels_file))
        found = sha256_of(tokenizer_file.read_bytes())
        if found != labels.tokenizer_sha256:
            raise ArtifactError(
                f"{tokenizer_file}: sha256 {found[:12]}… is not the {labels.tokenizer_sha256[:12]}… that "
                f"{labels_file} names; copy both files from one export"
            )
        return cls(folder, labels, sha256_of(text.encode()), tokenizer_file)


def sha256_of(data: bytes) -> str:
    """Hex SHA-256 digest."""
    return hashlib.sha256(data).hexdigest()


def newest_artifact_folder(repository: Path) -> Path:
    """The artifact folder of the highest version in a model repository.

    Raises:
        ArtifactError: the repository has no exported version.
    """
    ensemble = repository / "review_analysis"
    versions = sorted((p for p in ensemble.glob("*") if p.is_dir() and p.name.isdigit()), key=lambda p: int(p.name))
    if not versions:
        raise ArtifactError(f"{ensemble}: no version folder; export a model there first (python -m export --help)")
    return versions[-1]
