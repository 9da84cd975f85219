"""Variants: what is done to the two checkpoints, written as steps joined by ``+``.

    layers=1+distill=1+vocabulary=3+int8

Steps change the checkpoints from left to right; a precision, where there is one, stands last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from client.errors import InvalidInputError

StepName = Literal["heads", "feed-forward", "layers", "magnitude", "vocabulary", "distill"]
Precision = Literal["fp32", "int8", "int8-static", "int8-onnxruntime"]
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

STEP_HELP = {
    "heads=SHARE": "prune this share of all attention heads, the least important ones",
    "feed-forward=SHARE": "prune this share of each layer's feed-forward units",
    "layers=N": "prune the N least important layers",
    "magnitude=SHARE": "set this share of the encoder's weights to 0, the smallest ones",
    "vocabulary=N": "drop the pieces that stand fewer than N times in the training reviews",
    "distill=MILLIONS": "train what is left, for so many million tokens, to answer as the uncompressed model does",
    "int8": "what `python -m export` serves on CPUs: a scale for each token, found while the model runs",
    "int8-static": "scales of activations fixed beforehand on training reviews (measured only)",
    "int8-onnxruntime": "onnxruntime's own dynamic quantization, a scale for each batch (measured only)",
}
# Steps with a share remove less than all of it, steps with a number at least one.
SHARES = ("heads", "feed-forward", "magnitude")


@dataclass(frozen=True)
class Step:
    """One change of both checkpoints; ``amount`` as in STEP_HELP."""

    name: StepName
    amount: float

    def __str__(self) -> str:
        return f"{self.name}={self.amount:g}"


@dataclass(frozen=True)
class Variant:
    """Steps and the precision of the graphs. Without any: the uncompressed model in float32."""

    steps: tuple[Step, ...] = ()
    precision: Precision = "fp32"

    def __str__(self) -> str:
        precision = [self.precision] if self.precision != "fp32" or not self.steps else []
        return "+".join([*map(str, self.steps), *precision])

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read the form that ``str`` gives.

        Raises:
            InvalidInputError: an unknown step, an amount out of range, or an order that undoes a step.
        """
        parts = text.split("+")
        precision = next((known for known in PRECISIONS if known == parts[-1]), None)
        if precision:
            parts.pop()
        steps = tuple(_step(part, text) for part in parts)
        names = [step.name for step in steps]
        if "magnitude" in names and "distill" in names[names.index("magnitude") :]:
            raise InvalidInputError(f"variant {text!r}: distill after magnitude fills the zeros again; distill first")
        if len(set(names)) < len(names):
            raise InvalidInputError(f"variant {text!r}: a step stands twice; give it once with the whole amount")
        return cls(steps, precision or "fp32")


def _step(part: str, variant: str) -> Step:
    name, _, value = part.partition("=")
    known = next((known for known in STEP_NAMES if known == name), None)
    if known is None:
        raise InvalidInputError(f"variant {variant!r}: {part!r} is none of {', '.join(STEP_HELP)}")
    try:
        amount = float(value)
    except ValueError:
        raise InvalidInputError(f"variant {variant!r}: {part!r} has no number; write {name}=…") from None
    if known in SHARES and not 0 < amount < 1:
        raise InvalidInputError(f"variant {variant!r}: {part!r} is not a share above 0 and below 1")
    if known in ("layers", "vocabulary") and (amount < 1 or not amount.is_integer()):
        raise InvalidInputError(f"variant {variant!r}: {part!r} is not a whole number from 1")
    if not 0 < amount < math.inf:
        raise InvalidInputError(f"variant {variant!r}: {part!r} is not above 0")
    return Step(known, amount)


def parse_variants(texts: Sequence[str]) -> list[Variant]:
    """The uncompressed model and the variants that are named, each once."""
    return list(dict.fromkeys([Variant(), *map(Variant.parse, texts)]))
