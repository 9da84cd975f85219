"""What more data would buy: a power law of the error, believed only if it foretells what was measured.

Errors of trained models fall with the number n of examples like ``scale * n^-exponent + floor`` (Hestness et al. 2017,
arXiv:1712.00409), once there are enough of them. Three parameters fit almost any four points, so a good fit proves
nothing: the law is fitted without the largest size and has to foretell the score there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

LEAST_SIZES = 4
# How far a foretold score may be off even if seeds and fit leave no doubt: half a point.
TOLERANCE = 0.005
# A law that leaves more doubt than this at twice the data tells nothing worth knowing.
MOST_DOUBT = 0.02
# An exponent at an end of this range is no law but a straight line or a step.
EXPONENTS = (0.05, 2.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """``error(n) = scale * n^-exponent + floor``; a score is one less the error.

    ``covariance`` FP64 ``[3, 3]`` is that of log scale, exponent and floor.
    """

    scale: float
    exponent: float
    floor: float
    covariance: Floats

    def score(self, reviews: float) -> float:
        """The score that the law foretells for so many reviews."""
        return float(1 - self.scale * reviews**-self.exponent - self.floor)

    def doubt(self, reviews: float) -> float:
        """Two standard deviations of that score, as far as the fit knows (the delta method)."""
        reducible = self.scale * reviews**-self.exponent
        gradient = np.array([reducible, -reducible * np.log(reviews), 1.0])
        return 2 * float(np.sqrt(max(0.0, gradient @ self.covariance @ gradient)))


@dataclass(frozen=True)
class Judgement:
    """``law`` is None where none is believed; ``why`` tells in a sentence."""

    law: PowerLaw | None
    why: str


def judge_power_law(sizes: Sequence[int], scores: Sequence[float]) -> Judgement:
    """Fit the law to ``(size, score)`` points, several seeds a size, and test it on the largest size."""
    n, score = np.array(sizes, np.float64), np.array(scores, np.float64)
    distinct = np.unique(n)
    if len(distinct) < LEAST_SIZES:
        return Judgement(None, f"{len(distinct)} sizes are too few for a power law; measure {LEAST_SIZES} at least")
    last = float(distinct[-1])
    part, law = _fitted(n[n < last], 1 - score[n < last]), _fitted(n, 1 - score)
    if part is None or law is None:
        return Judgement(None, "no power law: the scores do not bend like one")
    measured = score[n == last]
    foretold, mean = part.score(last), float(measured.mean())
    told = f"the smaller sizes foretell {foretold:.3f} for {last:,.0f} reviews, measured: {mean:.3f}"
    noise = 2 * _seed_deviation(n, score) / np.sqrt(len(measured))
    if abs(foretold - mean) > max(TOLERANCE, np.hypot(noise, part.doubt(last))):
        return Judgement(None, f"no power law: {told}")
    if not law.doubt(2 * last) <= MOST_DOUBT:
        return Judgement(None, f"no power law is sure enough: ±{law.doubt(2 * last):.3f} at {2 * last:,.0f} reviews")
    return Judgement(law, told)


def _fitted(n: Floats, errors: Floats) -> PowerLaw | None:
    """Least squares; None if it does not converge or the exponent runs to an end of its range."""

    def law(sizes: Floats, log_scale: float, exponent: float, floor: float) -> Floats:
        return np.asarray(np.exp(log_scale) * sizes**-exponent + floor)

    start = (np.log(errors.mean() * np.sqrt(n.mean())), 0.5, 0.0)
    bounds = ((-20.0, EXPONENTS[0], 0.0), (20.0, EXPONENTS[1], 1.0))
    try:
        (log_scale, exponent, floor), covariance = curve_fit(law, n, errors, p0=start, bounds=bounds)
    except (RuntimeError, ValueError):
        return None
    if not EXPONENTS[0] * 1.01 < exponent < EXPONENTS[1] * 0.99:
        return None
    return PowerLaw(float(np.exp(log_scale)), float(exponent), float(floor), covariance)


def _seed_deviation(n: Floats, score: Floats) -> float:
    """Standard deviation between seeds of one size, pooled over the sizes that have several."""
    groups = [score[n == size] for size in np.unique(n)]
    freedom = sum(len(group) - 1 for group in groups)
    return float(np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / max(freedom, 1)))
