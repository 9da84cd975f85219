"""Quotas: how many reviews of a round each strategy chooses, and how one's rest goes to the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from client.errors import InvalidInputError

log = logging.getLogger("selection")

# The random part. What it draws of the whole pool is a fair sample; what it fills up with later is one of the rest.
SAMPLE, REFILL = "proportional", "refill"
# Percent of a round. First comes first: a review that two strategies want goes to the one that stands before.
DEFAULT_QUOTAS: Mapping[str, float] = {
    SAMPLE: 20,
    "threshold": 50,
    "sentiment": 20,
    "vocabulary": 5,
    "outliers": 5,
}


class Strategy(Protocol):
    """A way to choose: the best ``count`` rows of the pool that are still ``free`` (bool ``[N]``), each with why.

    Fewer, where it has no reason to choose more.
    """

    def __call__(self, count: int, free: NDArray[np.bool_]) -> list[tuple[int, str]]: ...


def parse_quotas(arguments: Sequence[str]) -> dict[str, float]:
    """Percent by strategy from ``NAME=40%`` arguments, in the order of ``DEFAULT_QUOTAS``.

    Raises:
        InvalidInputError: names the argument that is malformed, unknown or twice; or they do not sum to 100 %.
    """
    quotas: dict[str, float] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in DEFAULT_QUOTAS:
            raise InvalidInputError(f"--quota {argument}: no strategy {name!r}; there are {', '.join(DEFAULT_QUOTAS)}")
        if name in quotas:
            raise InvalidInputError(f"--quota {argument}: {name} stands twice; give it once")
        try:
            quotas[name] = float(value.removesuffix("%"))
        except ValueError:
            raise InvalidInputError(f"--quota {argument}: {value!r} is no percentage such as 40%") from None
        if not 0 <= quotas[name] <= 100:
            raise InvalidInputError(f"--quota {argument}: {value} is not between 0% and 100%")
    total = sum(quotas.values())
    if abs(total - 100) > 0.01:
        raise InvalidInputError(f"--quota: the shares sum to {total:g} %; make it 100 %")
    return {name: quotas[name] for name in DEFAULT_QUOTAS if quotas.get(name)}


def largest_remainder(shares: Sequence[float], count: int) -> list[int]:
    """Divide ``count`` in proportion to ``shares`` by the largest remainder method (Hamilton's).

    Everyone gets the whole part of what is due, and what is left goes one by one to the largest fractions (the first
    of equals). The result sums to ``count``, and to all zeros where the shares do.
    """
    due = np.asarray(shares, dtype=np.float64)
    if not due.sum():
        return [0] * len(due)
    due = due * count / due.sum()
    seats = np.floor(due + 1e-9).astype(int)
    left = count - int(seats.sum())
    for place in np.argsort(-(due - seats), kind="stable")[:left]:
        seats[place] += 1
    return [int(seat) for seat in seats]


def combine(
    strategies: Mapping[str, Strategy], quotas: Mapping[str, float], count: int, size: int
) -> list[tuple[int, str, str]]:
    """Choose ``count`` of ``size`` rows: (row, strategy, why), each row once.

    Strategies choose in the order of ``quotas``; the quota of one that is not among ``strategies`` is divided among the
    others from the beginning. What one leaves of its quota for want of reviews is divided among the others in
    proportion to theirs, until the round is full or nobody has anything to propose. What ``SAMPLE`` draws then is
    called ``REFILL``: the others have taken theirs, and it is no fair sample of the pool.
    """
    free = np.ones(size, dtype=np.bool_)
    chosen: list[tuple[int, str, str]] = []
    open_quotas = {name: share for name, share in quotas.items() if share > 0 and name in strategies}
    for name in [name for name, share in quotas.items() if share > 0 and name not in strategies]:
        log.info("%s has nothing to choose by; its quota goes to %s", name, ", ".join(open_quotas) or "nobody")
    missing = min(count, size)
    refilling = False
    while missing and open_quotas:
        wanted = dict(zip(open_quotas, largest_remainder(list(open_quotas.values()), missing), strict=True))
        left = {}
        for name, quota in wanted.items():
            found = strategies[name](quota, free)
            for row, why in found:
                free[row] = False
                chosen.append((row, REFILL if refilling and name == SAMPLE else name, why))
            if len(found) < quota:
                left[name] = quota - len(found)
                del open_quotas[name]
        missing, refilling = sum(left.values()), True
        for name, rest in left.items():
            if rest:
                others = ", ".join(open_quotas) or "nobody: no other strategy has anything left"
                log.info("%s leaves %d of its %d; they go to %s", name, rest, wanted[name], others)
    return chosen
