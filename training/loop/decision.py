"""The rule that decides between champion and challenger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.errors import InvalidInputError
from training.loop.bootstrap import Difference

METRICS = ("keyword micro F1", "keyword macro F1", "sentiment accuracy", "sentiment macro F1")
# Of fewer, the percentile interval is too narrow: of one review it has no width at all.
FEWEST_REVIEWS = 30


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


def measurable(graded: int) -> tuple[str, ...]:
    """The metrics that can be compared when so many held-out reviews have labels of five levels."""
    return METRICS if graded >= FEWEST_REVIEWS else METRICS[:2]


def require_measured(primary: str, measured: Sequence[str]) -> None:
    """Refuse a primary metric that the held-out reviews do not measure.

    Raises:
        InvalidInputError: names the metric and what it takes.
    """
    if primary not in measured:
        raise InvalidInputError(
            f"--primary {primary}: fewer than {FEWEST_REVIEWS} held-out reviews have labels of five levels, and "
            f"sentiments are compared on these alone; add some, or take one of {', '.join(measured)}"
        )


def decide(metrics: Mapping[str, Difference], rule: Rule) -> Decision:
    """Apply the rule to what was measured; sentiment metrics are missing where too few labels have five levels.

    Raises:
        InvalidInputError: the primary metric was not measured.
    """
    require_measured(rule.primary, tuple(metrics))
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
