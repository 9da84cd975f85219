"""The report of a run in Markdown: what was selected and why, label quality, training, comparison, decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.loop.decision import FEWEST_REVIEWS
from training.loop.settings import Settings

MOST_ROWS, MOST_CHARACTERS = 20, 160


def render(settings: Settings, steps: Mapping[str, Mapping[str, Any]], waiting: Mapping[str, Any]) -> str:
    """The text of ``report.md`` for the steps that are finished, and for the one that waits."""
    parts = [f"# Retraining of `{settings.repository}`", _outcome(steps, waiting)]
    if "select" in steps:
        parts += ["## Selected", _selected(settings, steps["select"])]
    if labels := steps.get("labels") or waiting.get("labels"):
        parts += ["## Labels", *_labels(labels)]
    if "keyword" in steps:
        parts += ["## Training", *(_training(task, steps[task]) for task in ("keyword", "sentiment") if task in steps)]
    if "compare" in steps:
        parts += ["## Comparison", *comparison_table(steps["compare"])]
    if "decide" in steps:
        parts += ["## Decision", *_decision(settings, steps["decide"])]
    rows = [(name, step["finished"], f"{step['seconds']:.0f} s") for name, step in steps.items()]
    return "\n\n".join([*parts, "## Steps", _table(("step", "finished (UTC)", "took"), rows)]) + "\n"


def _outcome(steps: Mapping[str, Mapping[str, Any]], waiting: Mapping[str, Any]) -> str:
    decision = steps.get("decide")
    if decision is None:
        return "**Waiting for labels.**" if "ask" in steps and "labels" not in steps else "**Not finished.**"
    if promoted := decision["promoted"]:
        return f"**Promoted: version {promoted['version']} (`{promoted['model_version']}`) is served.**"
    said = "better, and left to a person to promote" if decision["better"] else "not promoted"
    return f"**The challenger is {said}; version {decision['served']} is served.**"


def _selected(settings: Settings, step: Mapping[str, Any]) -> str:
    rows = [(name, found["reviews"], found["first"]) for name, found in step["strategies"].items()]
    table = _table(("strategy", "reviews", "its first one, because"), rows)
    told = f"{step['reviews']} of {step['pool']} reviews in `{settings.pool}`; `selected.jsonl` says why of each."
    return f"{told}\n\n{table}"


def _labels(step: Mapping[str, Any]) -> list[str]:
    parts = [f"Of {step['asked']} reviews, {step['kept']} have labels that hold and {step['returned']} were returned."]
    if because := step["returned_because"]:
        parts.append(_table(("returned because", "times"), because.items()))
    if problems := step["row_problems"]:
        more = f"\n- and {len(problems) - MOST_ROWS} more" if len(problems) > MOST_ROWS else ""
        parts.append("Rows with problems:\n\n" + "\n".join(f"- {_cell(p)}" for p in problems[:MOST_ROWS]) + more)
    if step["labelled_twice"]:
        rows = [(name, a["kappa"], a["share"], a["count"]) for name, a in step["keyword_agreement"].items()]
        if sentiment := step["sentiment_agreement"]:
            rows.append(("sentiments (weighted)", sentiment["kappa"], sentiment["share"], sentiment["count"]))
        parts.append(f"{step['labelled_twice']} reviews were labelled by two or more people. Their agreement:")
        parts.append(_table(("label", "kappa", "same", "of"), rows))
    parts.append(_table(("label", "reviews with it"), sorted(step["support"].items(), key=lambda item: -item[1])))
    return parts


def _training(task: str, step: Mapping[str, Any]) -> str:
    rows = [(kind, name, row["f1"]) for kind, table in step["test"].items() for name, row in table.items()]
    return f"### {task}\n\n```\n{step['command']}\n```\n\n" + _table(("test split", "average", "F1"), rows)


def comparison_table(step: Mapping[str, Any]) -> list[str]:
    """The paragraphs and tables of a comparison, from its values."""
    header = ("metric", "champion", "challenger", "gain", "95 % interval", "P(better)")
    few = f" Sentiments are not compared: that takes {FEWEST_REVIEWS} reviews with labels of five levels."
    return [
        f"Champion `{step['champion']}` and challenger `{step['challenger']}` on the same {step['reviews']} held-out "
        f"reviews ({step['graded']} with sentiments of five levels) of {', '.join(step['files'])}; data "
        f"`{step['data_sha256'][:12]}`. Paired bootstrap over reviews, {step['resamples']} resamples, seed "
        f"{step['seed']}.{few if step['graded'] < FEWEST_REVIEWS else ''}",
        _table(header, _differences(step["metrics"])),
        "F1 of each keyword (so many intervals at once: now and then one excludes 0 by chance):",
        _table(("keyword", *header[1:]), _differences(step["keywords"])),
    ]


def _differences(metrics: Mapping[str, Mapping[str, float]]) -> list[Sequence[Any]]:
    return [
        (
            name,
            f"{m['champion']:.4f}",
            f"{m['challenger']:.4f}",
            f"{m['challenger'] - m['champion']:+.4f}",
            f"{m['low']:+.4f} to {m['high']:+.4f}",
            f"{m['better']:.3f}",
        )
        for name, m in metrics.items()
    ]


def _decision(settings: Settings, step: Mapping[str, Any]) -> list[str]:
    rule = (
        f"Rule: the lower bound of the 95 % interval of {settings.primary} is above 0, and no other metric falls by "
        f"more than {settings.tolerance:g}."
    )
    return [rule, "\n".join(f"- {reason}" for reason in step["reasons"])]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """A value as it may stand in a table: reasons and problems quote what people wrote."""
    if value is None:
        return "–"
    text = f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
