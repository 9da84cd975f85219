"""Readers: rows, ids and lines of each format, and what becomes of rows that hold no review."""

from __future__ import annotations

import gzip
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.errors import InvalidInputError
from client.readers import read_rows
from client.results import InvalidRow, ReviewInput

Writer = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes a file and returns its path."""

    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


def rows(source: str, **options: str) -> list[tuple[str, str, int | None]]:
    """(id, text, line) of reviews; (id, "!" + message, line) of invalid rows."""
    return [
        (row.id, row.text if isinstance(row, ReviewInput) else f"!{row.error}", row.line)
        for row in read_rows(source, **options)
    ]


def test_txt_has_a_review_a_line_and_leaves_out_lines_of_nothing(write: Writer) -> None:
    source = write("a.txt", "\ufeff좋아요\r\n\r\n  \n별로예요 😀")
    assert rows(source) == [("1", "좋아요", 1), ("3", "  ", 3), ("4", "별로예요 😀", 4)]


def test_unicode_line_separators_do_not_end_a_line(write: Writer) -> None:
    assert rows(write("a.txt", "좋아요\u2028정말\x85요\n네\n")) == [("1", "좋아요\u2028정말\x85요", 1), ("2", "네", 2)]


def test_a_line_that_is_not_utf8_fails_alone(write: Writer) -> None:
    good, bad, other = rows(write("a.txt", "좋아요\n".encode() + "나빠요\n".encode("cp949") + "네\n".encode()))
    assert (good[1], other) == ("좋아요", ("3", "네", 3))
    assert bad[2] == 2
    assert bad[1].startswith("!the row is not UTF-8")
    assert "iconv -f cp949" in bad[1]


def test_csv_finds_columns_and_keeps_quoted_newlines_in_one_review(write: Writer) -> None:
    source = write("a.csv", '\ufeffid,리뷰\r\nx1,"예뻐요, 정말\n좋아요"\r\n\r\n,"그는 ""최고"" 라고"\r\n')
    assert rows(source, text_column="리뷰") == [("x1", "예뻐요, 정말\n좋아요", 2), ("2", '그는 "최고" 라고', 5)]


def test_tsv_is_split_at_tabs(write: Writer) -> None:
    assert rows(write("a.TSV", "text\tno\n좋아요, 네\t7\n"), id_column="no") == [("7", "좋아요, 네", 2)]


def test_missing_csv_column_lists_those_there_are(write: Writer) -> None:
    source = write("a.csv", "번호,리뷰\n1,좋아요\n")
    with pytest.raises(InvalidInputError, match=r"no column 'text'; the columns are: 번호, 리뷰.*--text-column"):
        rows(source)
    with pytest.raises(InvalidInputError, match=r"no column 'key'.*--id-column"):
        rows(source, text_column="리뷰", id_column="key")


def test_csv_rows_with_other_cell_counts_or_broken_quotes_fail_alone(write: Writer) -> None:
    content = 'id,text\n1\n2,좋아요,더\n3,"좋아요" 네\n4,네\n5,"열린\n따옴표\n'
    found = rows(write("a.csv", content))
    assert [(row[0], row[1][0] == "!", row[2]) for row in found] == [
        ("1", True, 2),
        ("2", True, 3),
        ("3", True, 4),
        ("4", False, 5),
        ("5", True, 6),
        ("6", True, 7),
    ]
    assert "row 1 has 1 cells, the header 2" in found[0][1]
    assert "check its quotes" in found[2][1]


def test_a_csv_quote_that_is_never_closed_costs_one_row_however_much_follows(write: Writer) -> None:
    following = "".join(f"{number},{'네' * 90}\n" for number in range(3, 3_000))
    found = rows(write("a.csv", 'id,text\n1,좋아요\n2,"열린 따옴표\n' + following))
    assert [(row[0], row[2]) for row in found] == [(str(number), number + 1) for number in range(1, 3_000)]
    assert [row[0] for row in found if row[1].startswith("!")] == ["2"]


def test_csv_lines_count_on_behind_a_row_of_several_lines_that_was_given_back(write: Writer) -> None:
    found = rows(write("a.csv", 'id,text\n1,"예뻐요\n정말"\n2,"열린\n3,"닫힌" 따옴표\n4,"두\n줄"\n5,끝\n'))
    assert [(row[0], row[2]) for row in found] == [("1", 2), ("2", 4), ("3", 5), ("4", 6), ("5", 8)]
    assert [row[1] for row in found if not row[1].startswith("!")] == ["예뻐요\n정말", "두\n줄", "끝"]


def test_csv_columns_of_one_name_are_refused_if_they_are_needed(write: Writer) -> None:
    with pytest.raises(InvalidInputError, match="2 columns are named 'text'"):
        rows(write("a.csv", "text,text\n좋아요,네\n"))
    with pytest.raises(InvalidInputError, match="2 columns are named 'id'"):
        rows(write("b.csv", "id,text,id\n1,네,2\n"))
    assert rows(write("c.csv", "x,text,x\n1,네,2\n")) == [("1", "네", 2)]


def test_csv_without_a_readable_header_is_refused(write: Writer) -> None:
    with pytest.raises(InvalidInputError, match="no header line with column names; the file is empty"):
        rows(write("a.csv", ""))
    with pytest.raises(InvalidInputError, match="header line is not UTF-8"):
        rows(write("b.csv", "번호,text\n1,좋아요\n".encode("cp949")))


def test_jsonl_gives_ids_back_and_reports_broken_lines(write: Writer) -> None:
    lines = [
        '{"text": "좋아요", "id": "가-1"}',
        '{"text": "네", "id": 12345678901234567890}',
        "",
        '{"text": "끝이 없어요',
        '["목록"]',
        '{"review": "이름이 달라요"}',
        '{"text": 5, "id": "n"}',
        '{"text": null}',
        '{"text": "네", "id": 1.5}',
        '{"text": "이모지 \\ud83d\\ude00", "id": null}',
    ]
    found = rows(write("a.jsonl", "\n".join(lines)))
    assert [(row[0], row[2]) for row in found] == [
        ("가-1", 1),
        ("12345678901234567890", 2),
        ("4", 4),
        ("5", 5),
        ("6", 6),
        ("n", 7),
        ("8", 8),
        ("9", 9),
        ("10", 10),
    ]
    messages = [row[1] for row in found]
    assert messages[:2] == ["좋아요", "네"]
    assert messages[2].startswith("!the line is not JSON: ")
    assert messages[3] == '!the line is not an object like {"text": "…"}'
    assert messages[4] == "!no field 'text'; the fields are: review"
    assert messages[5] == "!'text' is a number; it must be text"
    assert messages[6] == "!'text' is null; it must be text"
    assert messages[7] == "!'id' is a number; it must be text or a whole number"
    assert messages[8] == "이모지 😀"


def test_jsonl_bytes_that_are_not_utf8_are_reported_within_and_outside_of_strings(write: Writer) -> None:
    inside = b'{"text": "' + "좋아요".encode("cp949") + b'"}\n'
    found = rows(write("a.jsonl", inside + "좋아요".encode("cp949") + b'\n{"text": "ok"}\n'))
    assert ["not UTF-8" in row[1] for row in found] == [True, True, False]


def test_named_json_fields_are_required_of_every_line(write: Writer) -> None:
    source = write("a.jsonl", '{"r": "좋아요", "k": 3}\n{"r": "네"}\n')
    assert rows(source, text_column="r", id_column="k") == [
        ("3", "좋아요", 1),
        ("2", "!no field 'k'; the fields are: r", 2),
    ]


def test_deeply_nested_json_is_a_broken_line(write: Writer) -> None:
    found = rows(write("a.jsonl", "[" * 200_000 + '\n{"text": "네"}\n'))
    assert found[0][1].startswith("!the line is not JSON")
    assert found[1][1] == "네"


def test_parquet_without_pyarrow_says_what_to_install(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidInputError, match=r'pip install -e "\.\[parquet\]"'):
        rows(write("a.parquet", b""))


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt"])
def test_gzip_is_recognized_by_its_content(write: Writer, name: str) -> None:
    assert rows(write(name, gzip.compress("좋아요\n네\n".encode()))) == [("1", "좋아요", 1), ("2", "네", 2)]


def test_format_before_gz_counts(write: Writer) -> None:
    assert rows(write("a.jsonl.gz", gzip.compress('{"text": "좋아요"}\n'.encode()))) == [("1", "좋아요", 1)]


def test_cut_gzip_is_refused_after_what_could_be_read(write: Writer) -> None:
    # Random digits do not compress, so that the cut leaves many whole lines.
    content = "\n".join(f"{number * 7919 % 1_000_003} 좋아요" for number in range(20_000)).encode()
    source = write("a.txt.gz", gzip.compress(content)[:-2000])
    read: list[ReviewInput | InvalidRow] = []
    with pytest.raises(InvalidInputError, match="broken gzip data"):
        read.extend(read_rows(source))
    iterator = read_rows(source)
    first = list(itertools.islice(iterator, 10_000))
    assert [row.line for row in first] == list(range(1, 10_001))


def test_missing_files_and_unknown_formats_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.txt: cannot be read: No such file"):
        rows(str(tmp_path / "none.txt"))
    with pytest.raises(InvalidInputError, match=r"a\.docx: cannot tell the format.*--input-format"):
        rows("a.docx")


def test_columns_of_plain_text_are_refused(write: Writer) -> None:
    with pytest.raises(InvalidInputError, match="have no columns"):
        rows(write("a.txt", "좋아요"), text_column="text")


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """A file that grows while it is read: nothing behind the first block was taken in advance."""
    path = tmp_path / "a.txt"
    path.write_text("가나다\n" * 5_000, encoding="utf-8")
    iterator: Iterator[ReviewInput | InvalidRow] = read_rows(str(path))
    next(iterator)
    with path.open("a", encoding="utf-8") as file:
        file.write("마지막\n")
    *_, last = iterator
    assert last == ReviewInput("마지막", "5001", 5001)
