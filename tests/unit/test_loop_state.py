"""What a run remembers survives whatever ends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.errors import InvalidInputError
from tests.unit.test_loop_promotion import full_disk
from training.loop.__main__ import main
from training.loop.files import locked, make_folder, read_rows, write_rows
from training.loop.settings import Run, Settings
from training.loop.steps import STEPS

SETTINGS = Settings("/repository", "/pool.jsonl", ("/a.jsonl:2", "/b.jsonl"), ("/b.jsonl",), quotas=("outliers=100%",))


def test_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run.begin(tmp_path, SETTINGS)
    run.finish("select", {"reviews": 3}, 1.26)
    run.finish("ask", {}, 0)
    again = Run.open(tmp_path)
    assert again == run
    assert again.finished["select"]["seconds"] == 1.3
    again.forget(("ask",))
    assert list(Run.open(tmp_path).finished) == ["select"]


@pytest.mark.parametrize(
    ("again", "kept"), [(None, ["select", "ask"]), ("keyword", ["select", "ask"]), ("ask", ["select"])]
)
def test_new_labels_are_used_whatever_else_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str | None, kept: list[str]
) -> None:
    make_folder(tmp_path / "run")
    run = Run.begin(tmp_path / "run", SETTINGS)
    for step in STEPS:
        run.finish(step, {}, 0)
    monkeypatch.setattr("training.loop.__main__.go_on", lambda run: None)
    labels = tmp_path / "kim.csv"
    labels.write_text("id,text,만족도\na,핏이 예뻐요,1\n", encoding="utf-8")
    given = ["run", str(tmp_path / "run"), "--labels", str(labels)]
    assert main([*given, *(["--again", again] if again else [])]) == 0
    assert list(Run.open(tmp_path / "run").finished) == kept
    assert (tmp_path / "run" / "answers.jsonl").is_file()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="file/run: the folder cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "run")


def test_full_disk_leaves_the_old_state_whole(tmp_path: Path) -> None:
    run = Run.begin(tmp_path, SETTINGS)
    run.finish("select", {"reviews": 3}, 1)
    before = (tmp_path / "state.json").read_bytes()
    with full_disk(len(before) + 10), pytest.raises(InvalidInputError, match="cannot be written"):
        run.finish("ask", {"files": ["x" * 100]}, 1)
    assert (tmp_path / "state.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert list(Run.open(tmp_path).finished) == ["select"]


def test_options_that_differ_from_those_of_the_beginning(tmp_path: Path) -> None:
    run = Run.begin(tmp_path, SETTINGS)
    run.require({"count": 500, "train": SETTINGS.train})
    with pytest.raises(InvalidInputError, match=r"--held-out .* was begun with"):
        run.require({"held_out": ("/a.jsonl",)})


@pytest.mark.parametrize("values", [{"count": 0}, {"overlap": 1.5}, {"enough": -0.1}, {"labellers": 0}])
def test_settings_out_of_range(values: dict[str, int]) -> None:
    (name,) = values
    with pytest.raises(InvalidInputError, match=f"--{name}"):
        Settings("/repository", "/pool.jsonl", (), (), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}}', '{"settings": {"colour": 1}, "finished": {}}'])
def test_broken_state_is_told(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidInputError, match="no run of the loop"):
        Run.open(tmp_path)
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"state\.json: cannot be read"):
        Run.open(tmp_path)


def test_lock_goes_with_the_process_that_holds_it(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from training.loop.files import locked\n"
    script += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidInputError, match="another process works on it"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_rows_with_every_kind_of_line_end(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\x85c\nd\r\x0b"}, {"text": ""}]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows


def test_rolling_back_needs_neither_torch_nor_scikit_learn() -> None:
    script = "import sys, training.loop.__main__; print([m for m in ('torch', 'sklearn', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
