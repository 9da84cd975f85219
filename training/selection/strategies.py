"""Strategies over arrays: proportional to strata, keywords near their thresholds, uncertain sentiment.

A strategy proposes only rows that it has a reason for, and says the reason in words; ``ranked`` makes one of any
ranking. The other two rankings have modules of their own: ``vocabulary`` and ``outliers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.selection.quotas import Strategy, largest_remainder

# A keyword is near its threshold from halfway between it and the nearer certainty on, and a sentiment is uncertain
# from this much probability on that is not the predicted class's.
LEAST_CLOSENESS = 0.5
LEAST_UNCERTAINTY = 0.25
# What a review costs to label before its first character is read, in characters.
FIXED_COST = 20

Ranking = Sequence[tuple[int, str]]


def ranked(ranking: Ranking) -> Strategy:
    """The strategy that chooses the first free rows of a ranking, which is (row, why), best first."""

    def choose(count: int, free: NDArray[np.bool_]) -> list[tuple[int, str]]:
        return [(row, why) for row, why in ranking if free[row]][:count]

    return choose


def proportional(strata: Sequence[Hashable], seed: int) -> Strategy:
    """Random draws from each stratum (a shop and category, say), as many as its share of the free rows is due.

    ``strata`` are those of all N rows. The largest remainder method rounds. The rows drawn are a fair sample of the
    free rows: of the pool, where nothing was chosen before.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    in_pool = Counter(strata)

    def choose(count: int, free: NDArray[np.bool_]) -> list[tuple[int, str]]:
        members: dict[Hashable, list[int]] = {stratum: [] for stratum in in_pool}
        for row in order[free[order]]:
            members[strata[row]].append(int(row))
        sizes = [len(rows) for rows in members.values()]
        seats = largest_remainder(sizes, min(count, sum(sizes)))
        return [
            (row, f"drawn at random for {_name_of(stratum)}, {in_pool[stratum] / len(strata):.1%} of the pool")
            for (stratum, rows), seats_here in zip(members.items(), seats, strict=True)
            for row in rows[:seats_here]
        ]

    return choose


def _name_of(stratum: Hashable) -> str:
    parts = stratum if isinstance(stratum, tuple) else (stratum,)
    return " / ".join(str(part) or "unknown" for part in parts)


def closeness(probs: NDArray[np.float32], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """How near probabilities ``[N, K]`` are to the thresholds ``[K]``: 1 at the threshold, 0 at certainty.

    It is ``p / t`` below the threshold ``t`` and ``(1 - p) / (1 - t)`` above: with ``t = 0.5`` this is twice the least
    confidence, and a keyword whose threshold was calibrated to 0.3 is as near at 0.15 as at 0.65.
    """
    below = probs < thresholds
    near: NDArray[np.float64] = np.where(below, probs / thresholds, (1 - probs) / (1 - thresholds))
    return near


def near_threshold(
    probs: NDArray[np.float32], thresholds: Sequence[float], keywords: Sequence[str], lengths: Sequence[int]
) -> Ranking:
    """Reviews with a keyword whose calibrated probability is near its own threshold, by how much they teach.

    ``probs`` ``[N, K]`` are those that are served: the temperature is in them, so 0.5 means the same for every model.
    A review scores ``sum over keywords of closeness / sqrt(FIXED_COST + length)`` with its length in characters: a
    label is bought for every keyword, so doubts add up, yet without the root long reviews would fill the round, which
    cost more to label (``docs/sample_selection.md`` compares).
    """
    near = closeness(probs, np.asarray(thresholds, dtype=np.float64))
    score = near.sum(axis=1) / np.sqrt(FIXED_COST + np.asarray(lengths))
    ranking = []
    for row in np.argsort(-score, kind="stable"):
        doubts = [
            f"{keywords[k]} {probs[row, k]:.2f} is near its threshold {thresholds[k]:.2f}"
            for k in np.argsort(-near[row], kind="stable")
            if near[row, k] >= LEAST_CLOSENESS
        ]
        if doubts:
            ranking.append((int(row), "; ".join(doubts)))
    return ranking


def rarity_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each class how many times rarer it is than the next more common one, from counts ``[S]``.

    ``w(c) = n(c') / n(c)`` with c' the class of the smallest count above n(c); 1 for the most common class, and for
    a class that never occurs (nothing is weighted with it).
    """
    weights = np.ones(len(counts))
    for index, count in enumerate(counts):
        above = counts[counts > count]
        if count and len(above):
            weights[index] = above.min() / count
    return weights


def uncertain_sentiment(probs: NDArray[np.float32], labels: Sequence[str], sentiments: Sequence[str]) -> Ranking:
    """Reviews with an uncertain sentiment, the more so the rarer the predicted class is.

    ``probs`` are ``[N, L, S]`` of L labels and S sentiments; rows of zeros were not asked. Of an asked pair with the
    predicted class c, the score is ``(1 - p(c)) * w(c)``: the least confidence (Lewis and Gale 1994,
    arXiv:cmp-lg/9407020) times ``rarity_weights`` over the predicted classes of all asked pairs. A review scores as
    its best pair.
    """
    asked = probs.any(axis=2)
    predicted = probs.argmax(axis=2)
    counts = np.bincount(predicted[asked], minlength=len(sentiments))
    weights = rarity_weights(counts)
    doubt = np.where(asked, 1 - probs.max(axis=2), 0)
    score = np.where(doubt >= LEAST_UNCERTAINTY, doubt * weights[predicted], 0)
    ranking = []
    for row in np.argsort(-score.max(axis=1), kind="stable"):
        label = int(score[row].argmax())
        if not score[row, label]:
            break
        kind = predicted[row, label]
        why = f"{labels[label]}: sentiment {sentiments[kind]} is sure to {1 - doubt[row, label]:.2f} only"
        if weights[kind] > 1:
            common = sentiments[int(np.flatnonzero(counts == counts[counts > counts[kind]].min())[0])]
            why += f", and {sentiments[kind]} is predicted {weights[kind]:.1f} times more rarely than {common}"
        ranking.append((int(row), why))
    return ranking
