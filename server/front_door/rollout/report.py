"""The report of a comparison as Markdown: counts and how sure they are, and no verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.front_door.rollout.comparison import Agreement, Comparison, Durations

# Of the normal distribution, for intervals of 95 %.
Z = 1.959964
COLUMNS = (
    "label",
    "reviews",
    "both",
    "champion only",
    "challenger only",
    "same sentiment",
    "score difference",
    "same highlight",
)


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """The 95 % interval of a share, which stays within 0 to 1 and holds for few trials too; None without any.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    """
    if trials == 0:
        return None
    share, square = successes / trials, Z * Z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def markdown(comparisons: Sequence[Comparison]) -> str:
    """A section for each pair of versions, the latest first."""
    if not comparisons:
        return 'No comparison yet: `mode = "shadow"` makes one.\n'
    return "\n".join(_section(comparison) for comparison in reversed(comparisons))


def _section(comparison: Comparison) -> str:
    reviews = comparison.reviews
    failed = ", ".join(f"{count:,} {code}" for code, count in sorted(comparison.failed.items()) if count)
    lines = [
        f"# {comparison.champion} and {comparison.challenger}",
        "",
        f"Champion {comparison.champion}, challenger {comparison.challenger}, from {comparison.since} to "
        f"{comparison.until}.",
        "",
        "| | |",
        "|---|---|",
        f"| calls | {comparison.calls:,} |",
        f"| reviews compared | {reviews:,} |",
        f"| with the same keywords and sentiments | {_share(comparison.identical, reviews)} |",
        f"| failed with the challenger alone | {failed or '0'} |",
        f"| not asked, the challenger was behind | {comparison.dropped:,} |",
        "",
        "| seconds of a call | median | 95 % | 99 % |",
        "|---|---|---|---|",
        _seconds("champion", comparison.champion_seconds),
        _seconds("challenger", comparison.challenger_seconds),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(_row(label, counts) for label, counts in comparison.labels.items()),
        "",
        "Brackets are 95 % intervals (of shares Wilson's, of the score difference the normal one), as if reviews were",
        "independent of one another. *Same sentiment* and *score difference* (challenger minus champion) are of the",
        "reviews in which both predict the label, *same highlight* of those in which both highlight a word for it.",
    ]
    if comparison.examples:
        lines += ["", "| latest differences | champion | challenger |", "|---|---|---|"]
        lines += [
            f"| {_cell(example['text'])} | {_found(example['champion'])} | {_found(example['challenger'])} |"
            for example in comparison.examples
        ]
    return "\n".join(lines) + "\n"


def _row(label: str, counts: Agreement) -> str:
    cells = [
        label,
        f"{counts.reviews:,}",
        f"{counts.both:,}",
        f"{counts.champion_only:,}",
        f"{counts.challenger_only:,}",
        _share(counts.same_sentiment, counts.both),
        _mean(counts.score_difference, counts.squared_score_difference, counts.both),
        _share(counts.same_highlight, counts.highlighted),
    ]
    return f"| {' | '.join(cells)} |"


def _share(part: int, whole: int) -> str:
    interval = wilson(part, whole)
    if interval is None:
        return ""
    return f"{part / whole:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _mean(total: int, squares: int, count: int) -> str:
    if count == 0:
        return ""
    mean = total / count
    if count == 1:
        return f"{mean:+.3f}"
    half = Z * math.sqrt(max(0.0, squares - count * mean**2) / (count - 1) / count)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _seconds(name: str, durations: Durations) -> str:
    quantiles = [durations.quantile(share) for share in (0.5, 0.95, 0.99)]
    return f"| {name} | {' | '.join('' if q is None else f'{q:.3g}' for q in quantiles)} |"


def _found(sentiments: dict[str, str]) -> str:
    return _cell(", ".join(f"{label} {sentiment}" for label, sentiment in sentiments.items()))


def _cell(text: str) -> str:
    """A text on one line that ends no table cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
