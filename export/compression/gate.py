"""The gate: what a variant may lose against the uncompressed model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from client.errors import ReviewLensError
from export.compression.measure import Measurement

# Of a keyword with fewer labels in the test split, one or two of them decide about the bound.
FEWEST_LABELS = 30


class GateError(ReviewLensError):
    """A variant loses more than its bounds allow."""

    code = "FAILED_PRECONDITION"


@dataclass(frozen=True)
class Bounds:
    """The most that scores may fall, the least highlights may agree, and the most that batch mates may change a
    probability (highlights compare probabilities of different batches); 0 to 1.

    ``keyword_loss`` is of micro F1 and ``sentiment_loss`` of accuracy, which common classes decide. In the ``macro``
    bounds, of macro F1, a rare class counts as much. ``one_keyword_loss`` is of the F1 of the keyword that loses most,
    among those with ``FEWEST_LABELS`` labels.
    """

    keyword_loss: float = 0.01
    keyword_macro_loss: float = 0.02
    one_keyword_loss: float = 0.05
    sentiment_loss: float = 0.01
    sentiment_macro_loss: float = 0.02
    highlight_agreement: float = 0.9
    company: float = 0.001

    def failures(self, found: Measurement, reference: Measurement) -> dict[str, str]:
        """What does not hold: each metric with its value and its bound. Empty: the variant passes."""
        scores = {
            "keyword micro F1": ("keyword_micro", self.keyword_loss, "keyword"),
            "keyword macro F1": ("keyword_macro", self.keyword_macro_loss, "keyword-macro"),
            "sentiment accuracy": ("sentiment_accuracy", self.sentiment_loss, "sentiment"),
            "sentiment macro F1": ("sentiment_macro", self.sentiment_macro_loss, "sentiment-macro"),
        }
        losses = {
            metric: (getattr(found, field), getattr(reference, field), bound, flag)
            for metric, (field, bound, flag) in scores.items()
        }
        if worst := _worst_keyword(found, reference):
            now, before = found.by_keyword[worst], reference.by_keyword[worst]
            losses[f"F1 of {worst}"] = now, before, self.one_keyword_loss, "one-keyword"
        # "Not at most" instead of "above": what is not a number does not pass.
        failures = {
            metric: f"{now:.4f} is {before - now:.4f} below the uncompressed {before:.4f}, "
            f"allowed are {bound:g} (--max-{flag}-loss)"
            for metric, (now, before, bound, flag) in losses.items()
            if not before - now <= bound
        }
        if not found.highlight_agreement >= self.highlight_agreement:
            failures["highlight agreement"] = (
                f"{found.highlight_agreement:.4f} is below {self.highlight_agreement:g} (--min-highlight-agreement)"
            )
        if not found.company <= self.company:
            failures["effect of batch mates"] = (
                f"on a probability {found.company:.4f} is above {self.company:g} (--max-batch-effect)"
            )
        return failures

    def require(self, found: Measurement, reference: Measurement) -> None:
        """Raises GateError, which names each metric with its value and bound, when one does not hold."""
        if failures := self.failures(found, reference):
            reasons = "; ".join(f"{metric} {told}" for metric, told in failures.items())
            raise GateError(f"{found.variant} is refused: {reasons}")


def _worst_keyword(found: Measurement, reference: Measurement) -> str | None:
    """The keyword whose F1 falls most, of those with labels enough; None where there is no such keyword."""

    def loss(name: str) -> float:
        fall = reference.by_keyword[name] - found.by_keyword[name]
        return math.inf if math.isnan(fall) else fall

    common = [name for name in reference.by_keyword if reference.keyword_labels[name] >= FEWEST_LABELS]
    return max(common, key=loss, default=None)
