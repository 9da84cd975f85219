"""The gate: what a variant may lose against the uncompressed model."""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import ReviewLensError
from export.compression.measure import Measurement


class GateError(ReviewLensError):
    """A variant loses more than its bounds allow."""

    code = "FAILED_PRECONDITION"


@dataclass(frozen=True)
class Bounds:
    """The most that keyword micro F1 and sentiment accuracy may fall, the least highlights may agree, and the most that
    batch mates may change a probability (highlights compare probabilities of different batches); 0 to 1.
    """

    keyword_loss: float = 0.01
    sentiment_loss: float = 0.01
    highlight_agreement: float = 0.9
    company: float = 0.001

    def failures(self, found: Measurement, reference: Measurement) -> dict[str, str]:
        """What does not hold: each metric with its value and its bound. Empty: the variant passes."""
        losses = {
            "keyword micro F1": (found.keyword_micro, reference.keyword_micro, self.keyword_loss, "keyword"),
            "sentiment accuracy": (
                found.sentiment_accuracy,
                reference.sentiment_accuracy,
                self.sentiment_loss,
                "sentiment",
            ),
        }
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
