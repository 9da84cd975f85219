"""What the audit leaves: `issues.csv`, `summary.csv` and `index.html`, a page to read and decide on.

The page is one file that asks for nothing else: style, scripts and data are in it, and its content security policy
admits exactly these scripts, so that no review can bring its own.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from training.audit.decisions import Decisions
from training.audit.issues import Issue, KeywordSummary
from training.data import LabelSet
from training.spreadsheets import neutral

PAGE = Path(__file__).parent / "page"
ISSUE_COLUMNS = (
    "rank", "id", "text", "keyword", "score", "probability", "action", "suggestion", "found_by", "why",
)  # fmt: skip


def issues_csv(issues: Sequence[Issue]) -> str:
    """The ranked issues; ``score`` is empty where the keyword is not tagged, ``probability`` where none was given."""
    return _csv(ISSUE_COLUMNS, (_row(issue) | {"rank": rank} for rank, issue in enumerate(issues, 1)))


def summary_csv(summary: Sequence[KeywordSummary]) -> str:
    """The summary by keyword."""
    return _csv([field.name for field in fields(KeywordSummary)], map(asdict, summary))


def page(issues: Sequence[Issue], summary: Sequence[KeywordSummary], label_set: LabelSet, decided: Decisions) -> str:
    """The page; what was ``decided`` before is in the file that it lets people download."""
    data = {
        "issues": [
            _row(issue)
            | {"spans": issue.spans, "found_by": sorted(issue.found_by), "labels": dict(issue.review.scores)}
            for issue in issues
        ],
        "decided": [asdict(decision) for decision in decided],
        "overall": label_set.overall,
        "sentiments": [
            {"name": name, "score": score}
            for name, score in zip(label_set.sentiments, label_set.sentiment_scores, strict=True)
        ],
    }
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = [(PAGE / name).read_text(encoding="utf-8") for name in ("book.js", "page.js")]
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    return environment.get_template("index.html").render(
        data=data,
        digest=hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16],
        summary=summary,
        scripts=scripts,
        style=style,
        script_hashes=[_source_hash(script) for script in scripts],
        style_hash=_source_hash(style),
    )


def _row(issue: Issue) -> dict[str, Any]:
    return {
        "id": issue.review.id,
        "text": issue.review.text,
        "keyword": issue.keyword,
        "score": issue.score,
        "probability": None if issue.probability is None else round(issue.probability, 4),
        "action": issue.action,
        "suggestion": issue.suggestion,
        "found_by": " and ".join(sorted(issue.found_by)),
        "why": "; ".join(issue.why),
    }


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a table, to be written in ``spreadsheets.ENCODING``; scores stay numbers."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: neutral(cell) if isinstance(cell, str) else cell for name, cell in row.items()})
    return out.getvalue()


def _source_hash(source: str) -> str:
    """The hash by which a content security policy admits an inline script or style (CSP Level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
