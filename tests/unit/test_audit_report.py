"""The audit's tables and page: every text comes back to the letter, nothing of it is markup, nothing is fetched."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.audit.decisions import Decision, Decisions, read_decisions
from training.audit.issues import Issue, summarize
from training.audit.report import PAGE, issues_csv, page, summary_csv
from training.data import LabelledReview, LabelSet
from training.spreadsheets import original

FASHION = LabelSet.load(Path("training/label_sets/fashion.json"))
NODE = shutil.which("node")
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }} & "따옴표" \r\n둘째 줄 🧵'


def issue(text: str, keyword: str = "신축성", score: int | None = 1, suggestion: str | None = None) -> Issue:
    labels = {} if score is None else {keyword: score}
    return Issue(
        review=LabelledReview("r<1>", text, labels, True, frozenset(FASHION.all_labels)),
        keyword=keyword,
        score=score,
        probability=0.0421,
        quality=0.0421,
        action="add" if score is None else "remove",
        suggestion=suggestion,
        found_by=frozenset({"model", "rule"}),
        why=("<b>왜냐하면</b>", "둘째"),
        spans=((0, 2),),
    )


class Parsed(HTMLParser):
    """Tags with their attributes, and the content of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sources: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and (name := self.tags[-1][0]) in ("script", "style") and self.cdata_elem == name:
            self.sources.append((name, data))


def render(*issues: Issue, decided: Decisions | None = None) -> Parsed:
    summary = summarize([i.review for i in issues], FASHION, issues)
    return Parsed(page(issues, summary, FASHION, decided or Decisions({})))


def data_of(parsed: Parsed) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(next(source for kind, source in parsed.sources if source.startswith("{")))
    return data


def test_the_page_is_self_contained_and_runs_its_own_scripts_only() -> None:
    parsed = render(issue(HOSTILE))
    assert not {"img", "link", "iframe", "object", "base"} & {tag for tag, _ in parsed.tags}
    assert not [
        attributes for _, attributes in parsed.tags if attributes.keys() & {"src", "href", "onerror", "onclick"}
    ]
    policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    code = [(kind, source) for kind, source in parsed.sources if not source.startswith("{")]
    assert [kind for kind, _ in code] == ["style", "script", "script"]
    for _, source in code:
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_texts_reach_the_page_to_the_letter(text: str) -> None:
    (row,) = data_of(render(issue(text)))["issues"]
    assert row["text"] == text


def test_the_page_holds_what_is_decided_on(tmp_path: Path) -> None:
    earlier = Decisions.of([Decision(HOSTILE, "핏", "add", -1)])
    data = data_of(render(issue(HOSTILE, suggestion="품질"), issue(HOSTILE, "소재", None), decided=earlier))
    assert data["decided"] == [{"text": HOSTILE, "keyword": "핏", "decision": "add", "score": -1}]
    assert [s["score"] for s in data["sentiments"]] == list(FASHION.sentiment_scores)
    wrong, missing = data["issues"]
    assert (wrong["action"], wrong["suggestion"], wrong["score"], wrong["spans"]) == ("remove", "품질", 1, [[0, 2]])
    assert (missing["action"], missing["score"], missing["found_by"]) == ("add", None, ["model", "rule"])


def test_tables_hold_every_issue_in_its_rank() -> None:
    issues = [issue(HOSTILE, suggestion="품질"), issue("천이 얇다, 그리고 비친다", "소재", None)]
    rows = list(csv.DictReader(io.StringIO(issues_csv(issues), newline="")))
    assert [row["text"] for row in rows] == [i.review.text for i in issues]
    assert [(r["rank"], r["keyword"], r["score"], r["action"], r["suggestion"], r["found_by"]) for r in rows] == [
        ("1", "신축성", "1", "remove", "품질", "model and rule"),
        ("2", "소재", "", "add", "", "model and rule"),
    ]
    assert rows[0]["why"] == "<b>왜냐하면</b>; 둘째"
    summary = summarize([i.review for i in issues], FASHION, issues)
    counts = {row["keyword"]: row for row in csv.DictReader(io.StringIO(summary_csv(summary)))}
    assert list(counts) == list(FASHION.all_labels)
    assert (counts["신축성"]["wrong"], counts["소재"]["missing"], counts["핏"]["wrong"]) == ("1", "1", "0")


def test_issues_run_nothing_in_a_spreadsheet() -> None:
    texts = [f"{start}HYPERLINK(1)" for start in "=+-@＝"]
    rows = list(csv.DictReader(io.StringIO(issues_csv([issue(text, score=-1) for text in texts]), newline="")))
    assert [row["text"] for row in rows] == [f"'{text}" for text in texts]
    assert [original(row["text"]) for row in rows] == texts
    assert {row["score"] for row in rows} == {"-1"}, "a score stays a number"


@pytest.mark.skipif(NODE is None, reason="the page's script needs Node.js to run outside a browser")
def test_what_the_page_decides_can_be_applied(tmp_path: Path) -> None:
    texts = ["천이 쫀쫀해요", "색이 고와요", "품이 커요", HOSTILE]
    issues = [
        issue(texts[0], suggestion="품질", score=-1),
        issue(texts[1], "색상", None),
        issue(texts[2], "핏", 2),
        issue(texts[3], "디자인", 0),
    ]
    data = json.dumps(data_of(render(*issues))["issues"])
    script = f"""{(PAGE / "book.js").read_text(encoding="utf-8")}
    const [moved, missing, kept, undone] = {data};
    const book = new Book([]);
    if (book.accept(missing)) throw new Error("a missing label needs a score");
    book.accept(moved); book.carry(missing, 2); book.remove(kept); book.keep(kept);
    book.accept(undone); book.undo(undone);
    const again = new Book(book.list());
    again.carry(kept, 1); again.accept(undone); again.carry(undone, -2);
    process.stdout.write(again.lines());"""
    assert NODE
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, encoding="utf-8", check=True)
    path = tmp_path / "decisions.jsonl"
    path.write_text(done.stdout, encoding="utf-8")
    decided = read_decisions(path, FASHION)
    assert [dict(r.scores) for r in decided.apply([i.review for i in issues])] == [
        {"품질": -1},
        {"색상": 2},
        {"핏": 1},
        {"디자인": -2},
    ]
