"""The rule that decides between champion and challenger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from client.errors import InvalidInputError
from training.loop.bootstrap import Difference

METRICS = ("keyword micro F1", "keyword macro F1", "sentiment accuracy", "sentiment macro F1")


@dataclass(frozen=True)
class Rule:
    """When a challenger is promoted.

    Two conditions: the lower bound of the 95 % interval of the ``primary`` metric's gain is above 0, and no other
    metric falls by more than ``tolerance`` (a difference of scores between 0 and 1).
    """

    primary: str = METRICS[0]
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.primary not in METRICS:
            raise InvalidInputError(f"--primary {self.primary!r}: not one of {', '.join(METRICS)}")
        if not 0 <= self.tolerance < 1:
            raise InvalidInputError(f"--tolerance {self.tolerance}: not between 0 and 1")


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and each condition with its figures."""

    promote: bool
    reasons: tuple[str, ...]


def decide(metrics: Mapping[str, Difference], rule: Rule) -> Decision:
    """Apply the rule to what was measured; sentiment metrics are missing where no label has five levels.

    Raises:
        InvalidInputError: the primary metric was not measured.
    """
    if rule.primary not in metrics:
        raise InvalidInputError(
            f"--primary {rule.primary}: no held-out review has labels of five levels; add some, or take another"
        )
    primary = metrics[rule.primary]
    ahead = primary.low > 0
    verdict = "better beyond noise" if ahead else "not better beyond noise, which takes a lower bound above 0"
    reasons = [
        f"{rule.primary}: {primary.champion:.4f} to {primary.challenger:.4f} ({primary.gain:+.4f}, 95 % interval "
        f"{primary.low:+.4f} to {primary.high:+.4f}): {verdict}"
    ]
    others = {name: metric for name, metric in metrics.items() if name != rule.primary}
    falls = [
        f"{name}: {metric.champion:.4f} to {metric.challenger:.4f}, a fall of more than the {rule.tolerance:g} allowed"
        for name, metric in others.items()
        if metric.gain < -rule.tolerance
    ]
    reasons += falls or [f"none of {', '.join(others)} falls by more than {rule.tolerance:g}"]
    return Decision(ahead and not falls, tuple(reasons))
