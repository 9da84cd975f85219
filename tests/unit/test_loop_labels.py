"""Labels go out to a sheet or to Label Studio and come back; what does not hold is returned, the rest is kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from training.data import LabelSet
from training.loop.answers import Answer, Task, parse_score, same_text
from training.loop.label_studio import interface_xml, read_export, tasks_json
from training.loop.quality import Checked, check
from training.loop.sheets import read_sheet, sheet
from training.spreadsheets import neutral, original

LABELS = LabelSet(("가격", "핏"), "만족도", ("매우부정", "부정", "중립", "긍정", "매우긍정"), (-2, -1, 0, 1, 2))
TASKS = [
    Task("a", "핏이 예쁘고 가격도 좋아요", "모아옷장", "상의"),
    Task("b", '=HYPERLINK("http://x.test","할인")\n"정말" 싸요, 두 줄', "", ""),
    Task("007", "그냥 그래요 🙂"),
]
SCORES: list[dict[str, int]] = [{"핏": 2, "가격": -1, "만족도": 1}, {"가격": 2, "만족도": 2}, {"만족도": 0}]


def no_rules(text: str, scores: Mapping[str, int]) -> list[str]:
    return []


def filled_in(path: Path, scores: list[dict[str, int]] = SCORES, encoding: str = "utf-8-sig", sep: str = ",") -> Path:
    """A sheet as a spreadsheet saves it after somebody has filled it in."""
    exported = sheet([(task, "", "", {}) for task in TASKS], LABELS)
    rows = list(csv.DictReader(io.StringIO(exported, newline="")))
    for row, said in zip(rows, scores, strict=True):
        row |= {name: str(score) for name, score in said.items()}
    with path.open("w", encoding=encoding, errors="replace", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys(), delimiter=sep)
        writer.writeheader()
        writer.writerows(rows)
    return path


def answer(task: Task, labeller: str = "kim", file: int = 1, /, **cells: str) -> Answer:
    return Answer("x.csv:2", file, task.id, task.text, labeller, cells)


def checked(*answers: Answer, rules: Any = no_rules) -> Checked:
    return check(TASKS, answers, LABELS, rules)


def kinds(result: Checked) -> dict[str, list[str]]:
    return {r.task.id: [p.kind for p in r.problems] for r in result.returned}


@pytest.mark.parametrize(("encoding", "sep"), [("utf-8-sig", ","), ("utf-8", ";"), ("cp949", ","), ("utf-8", "\t")])
def test_sheet_comes_back_as_it_was_filled_in(tmp_path: Path, encoding: str, sep: str) -> None:
    path = filled_in(tmp_path / "kim.csv", encoding=encoding, sep=sep)
    result = checked(*read_sheet(path, 1))
    assert [(k.task, dict(k.scores)) for k in result.kept] == list(zip(TASKS, SCORES, strict=True))
    assert not result.returned
    assert not result.rows


def test_sheet_runs_nothing_in_a_spreadsheet() -> None:
    tasks = [Task(f"{start}1", f"{start}cmd|' /C calc'!A0") for start in "=+-@\t\r＝＋－＠"]
    rows = list(
        csv.reader(io.StringIO(sheet([(t, "", "-problem", {"핏": "=1/–"}) for t in tasks], LABELS), newline=""))
    )
    assert len(rows) == 1 + len(tasks)
    for row in rows[1:]:
        assert not [cell for cell in row if cell.startswith(tuple("=+-@\t\r＝＋－＠"))]
    scored = sheet([(TASKS[0], "", "", {"핏": "-1"})], LABELS)
    assert ",-1," in scored, "a score stays a number"


@given(st.text())
def test_neutral_cells_are_read_as_they_were(cell: str) -> None:
    assert original(neutral(cell)) == cell
    assert not neutral(cell).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.lists(st.text(min_size=1).filter(lambda text: text.split()), min_size=1, max_size=5))
def test_any_text_comes_back_from_a_sheet(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    tasks = [Task(str(number), text) for number, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("sheet") / "kim.csv"
    path.write_text(sheet([(task, "", "", {"만족도": "1"}) for task in tasks], LABELS), "utf-8-sig", newline="")
    result = check(tasks, read_sheet(path, 1), LABELS, no_rules)
    assert len(result.kept) == len(tasks)


def test_label_studio_gets_tasks_and_an_interface_of_the_label_set() -> None:
    tasks = json.loads(tasks_json(TASKS))
    assert tasks[0] == {"data": {"id": "a", "text": TASKS[0].text, "shop": "모아옷장", "category": "상의"}}
    view = ElementTree.fromstring(interface_xml(LABELS))  # noqa: S314 - our own
    text = view.find("Text")
    assert text is not None
    assert (text.get("name"), text.get("value")) == ("text", "$text")
    groups = view.findall("Choices")
    assert [group.get("name") for group in groups] == ["가격", "핏", "만족도"]
    assert {group.get("toName") for group in groups} == {"text"}
    assert [group.get("required") for group in groups] == [None, None, "true"]
    assert [(c.get("value"), c.get("alias")) for c in groups[0]] == [
        ("매우부정", "-2"),
        ("부정", "-1"),
        ("중립", "0"),
        ("긍정", "1"),
        ("매우긍정", "2"),
    ]


def choices(**chosen: str) -> list[dict[str, Any]]:
    return [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [value]}}
        for name, value in chosen.items()
    ]


def test_label_studio_export_comes_back(tmp_path: Path) -> None:
    exported = json.loads(tasks_json(TASKS))
    exported[0]["annotations"] = [
        {"completed_by": 3, "was_cancelled": False, "result": choices(핏="2", 가격="부정", 만족도="1")},
        {"completed_by": {"id": 4, "email": "lee@example.com"}, "result": choices(핏="2", 가격="-1", 만족도="1")},
        {"completed_by": 5, "was_cancelled": True, "result": choices(핏="-2", 만족도="-2")},
    ]
    exported[1]["annotations"] = [
        {"completed_by": 3, "result": choices(만족도="1")},
        {"completed_by": 4, "result": choices(만족도="0")},
        {"completed_by": 3, "ground_truth": True, "result": choices(가격="2", 만족도="2")},
    ]
    exported[2]["annotations"] = []
    broken = [{"data": {"text": "핏이 좋아요"}, "annotations": []}, 7, {"id": 1, "text": "x", "핏": "1"}]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([*exported, *broken]), encoding="utf-8")
    answers = read_export(path, 1)
    assert [a.labeller for a in answers[:5]] == ["3", "lee@example.com", "3", "4", "decision"]
    result = checked(*answers)
    assert [(k.task.id, dict(k.scores)) for k in result.kept] == [("a", SCORES[0]), ("b", SCORES[1])]
    assert kinds(result) == {"007": ["not labelled"]}
    assert [p.kind for p in result.rows] == ["unreadable row"] * 3
    assert result.twice == 2


@pytest.mark.parametrize(
    ("value", "score"),
    [("1", 1), ("+1", 1), (" -2 ", -2), ("1.0", 1), ("−1", -1), ("－１", -1), ("매우긍정", 2), ("부정 ", -1)]
    + [(value, None) for value in ("", "3", "1.5", "좋음", "nan", "1/–", "=1", "1e400")],
)
def test_scores_as_people_and_spreadsheets_write_them(value: str, score: int | None) -> None:
    assert parse_score(value, LABELS) == score


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("핏이\r\n좋아요 ", "핏이\n좋아요", True),
        ("\u1112\u1161\u11ab번", "한번", True),
        ("좋아요 🙂!", "좋아요 ??!", True),
        ("좋아요", "좋아요!", False),
        ("안 좋아요", "좋아요", False),
    ],
)
def test_what_editors_change_by_themselves_is_no_change(left: str, right: str, same: bool) -> None:
    assert same_text(left, right) is same


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"핏": "1"}, "overall label missing"),
        ({"핏": "3", "만족도": "1"}, "unknown score"),
        ({"향": "1", "만족도": "1"}, "unknown label"),
        ({}, "not labelled"),
    ],
)
def test_one_bad_row_is_returned_and_the_others_are_kept(cells: dict[str, str], problem: str) -> None:
    result = checked(answer(TASKS[0], **cells), answer(TASKS[1], 만족도="1"), answer(TASKS[2], 만족도="1"))
    assert kinds(result) == {"a": [problem]}
    assert [k.task.id for k in result.kept] == ["b", "007"]
    assert dict(result.returned[0].cells) == cells, "what was filled in can be corrected"


def test_text_that_was_changed_is_returned() -> None:
    changed = Answer("x.csv:2", 1, "a", "핏이 예쁘고 가격은 나빠요", "kim", {"만족도": "1"})
    assert kinds(checked(changed))["a"] == ["text changed"]


def test_reviews_nobody_asked_for_are_told() -> None:
    stranger = Answer("x.csv:9", 1, "z", "다른 리뷰예요", "kim", {"만족도": "1"})
    result = checked(stranger)
    assert [(p.kind, p.where) for p in result.rows] == [("unknown review", "x.csv:9")]
    assert len(result.returned) == 3


def test_id_that_a_spreadsheet_took_for_a_number() -> None:
    mangled = Answer("x.csv:4", 1, "7", TASKS[2].text, "kim", {"만족도": "0"})
    assert [k.task.id for k in checked(mangled).kept] == ["007"]


def test_labellers_disagree_until_somebody_decides() -> None:
    both = [answer(TASKS[0], "kim", 핏="1", 만족도="1"), answer(TASKS[0], "lee", 2, 핏="-1", 가격="0", 만족도="1")]
    result = checked(*both)
    assert kinds(result)["a"] == ["labellers disagree"]
    assert "kim, lee: 가격 –/0; 핏 1/-1" in str(result.returned[0].problems[0])
    cells = result.returned[0].cells
    assert cells == {"가격": "–/0", "핏": "1/-1", "만족도": "1"}
    assert kinds(checked(*both, answer(TASKS[0], "decision", 3, **cells)))["a"] == ["unknown score"] * 2, (
        "giving the sheet back as it is decides nothing"
    )
    decided = checked(*both, answer(TASKS[0], "decision", 3, 핏="1", 만족도="1"))
    assert [dict(k.scores) for k in decided.kept] == [{"핏": 1, "만족도": 1}]
    assert decided.twice == 1, "a decision is no second labeller"


def test_one_labellers_bad_row_does_not_lose_the_others() -> None:
    result = checked(answer(TASKS[0], "kim", 핏="9", 만족도="1"), answer(TASKS[0], "lee", 만족도="1"))
    assert [k.task.id for k in result.kept] == ["a"]
    assert [p.kind for p in result.rows] == ["unknown score"]


def test_a_later_file_of_the_same_labeller_counts() -> None:
    first, second = answer(TASKS[0], "kim", 1, 만족도="1"), answer(TASKS[0], "kim", 2, 만족도="-1")
    blank = answer(TASKS[0], "kim", 3)
    assert [dict(k.scores) for k in checked(first, second, blank).kept] == [{"만족도": -1}]


def test_contradictory_rows_of_one_file_are_returned() -> None:
    rows = [answer(TASKS[0], "kim", 1, 만족도=score) for score in ("1", "1", "-1")]
    assert kinds(checked(*rows))["a"] == ["contradictory rows"]
    assert [k.task.id for k in checked(*rows[:2]).kept] == ["a"]


def test_guideline_suspects_until_somebody_confirms() -> None:
    def rules(text: str, scores: Mapping[str, int]) -> list[str]:
        return ["핏: no word of it"] if "핏" in scores and "핏" not in text else []

    rows = [answer(TASKS[0], 핏="1", 만족도="1"), answer(TASKS[2], 핏="1", 만족도="1")]
    result = checked(*rows, rules=rules)
    assert kinds(result)["007"] == ["guideline"]
    assert [k.task.id for k in result.kept] == ["a"]
    cells = result.returned[-1].cells
    confirmed = checked(*rows, answer(TASKS[2], "decision", 2, **cells), rules=rules)
    assert [k.task.id for k in confirmed.kept] == ["a", "007"]


def test_rows_that_cannot_be_read_do_not_end_the_sheet(tmp_path: Path) -> None:
    path = tmp_path / "kim.csv"
    lines = [
        "id,text,가격,핏,만족도",
        "a,핏이 예쁘고 가격도 좋아요,,2,1,넘침",
        "b,x\0y,,,1",
        "",
        "007,그냥 그래요 🙂,,,0",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    result = checked(*read_sheet(path, 1))
    assert [k.task.id for k in result.kept] == ["007"]
    assert kinds(result)["a"] == ["unreadable row"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "핏,만족도\n1,1\n".encode(), "no column id and text in the first line"),
        ("a.csv", "id,text,핏,핏\n".encode(), "column 핏 stands twice"),
        ("a.csv", b"\xff\xfe\x81\x00", "neither UTF-8 nor CP949"),
        ("a.csv", b"", "no column id and text"),
        ("a.json", b"{}", "not a list of tasks"),
        ("a.json", b"[", "not JSON"),
    ],
)
def test_files_that_are_no_labels_are_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=told):
        (read_export if name.endswith("json") else read_sheet)(path, 1)
    with pytest.raises(InvalidInputError, match="cannot open"):
        read_sheet(tmp_path / "nothing.csv", 1)
