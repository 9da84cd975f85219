"""The rollout file, the choice of calls, and the commands' steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import InvalidInputError
from server.front_door.rollout import steps
from server.front_door.rollout.__main__ import main
from server.front_door.rollout.plan import Plan, as_toml, checked_plan, read_plan, write_plan
from server.front_door.rollout.traffic import is_chosen, ticket_of

FILE = """\
[champion]
model_repository = "now"

[challenger]
triton_url = "triton-next:8001"
model_repository = "/models/다음"
version = 4
mode = "split"
share = 0.1
"""


def plan_of(**changes: object) -> Plan:
    return checked_plan({"champion": {"model_repository": "/now"}, **changes})


def challenger(**changes: object) -> dict[str, object]:
    return {"model_repository": "/next", "mode": "split", "share": 0.1, **changes}


def test_a_file_is_read_and_written_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rollout.toml"
    file.write_text(FILE, encoding="utf-8")
    plan = read_plan(file)
    assert plan.champion.model_repository == tmp_path / "now", "relative to the file"
    assert plan.challenger is not None
    assert (plan.challenger.triton_url, plan.challenger.version) == ("triton-next:8001", 4)
    assert (plan.challenger.mode, plan.challenger.share) == ("split", 0.1)
    write_plan(file, plan)
    assert read_plan(file) == plan
    assert as_toml(plan) == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "champion: Field required"),
        ("[champion]\n", "champion.model_repository: Field required"),
        ("champion = 3\n", "champion: 3"),
        ('[champion]\nmodel_repository = "a"\nurl = "b"\n', "champion.url: 'b'"),
        ('[champion]\nmodel_repository = "a"\ntriton_url = "b"\n', "champion.triton_url: 'b': 'b' is not HOST:PORT"),
        ('[champion]\nmodel_repository = "a"\nversion = 0\n', "champion.version: 0"),
        ('[champion]\nmodel_repository = "a"\nversion = true\n', "champion.version: True"),
        (FILE.replace("0.1", "1.5"), "challenger.share: 1.5"),
        (FILE.replace("0.1", '"much"'), "challenger.share: 'much'"),
        (FILE.replace("split", "half"), "challenger.mode: 'half'"),
        (FILE.replace("share = 0.1", ""), "challenger.share: Field required"),
        (FILE.replace("challenger", "contender"), "contender"),
        ("[champion", "not TOML"),
        ('[champion]\nmodel_repository = "\udcff"', "not TOML in UTF-8"),
        (
            '[champion]\nmodel_repository = "a"\n[challenger]\nmodel_repository = "a"\nmode = "shadow"\nshare = 1\n',
            "it is the champion",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "rollout.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInputError) as error:
        read_plan(file)
    assert str(error.value).startswith(f"{file}: ")
    assert problem in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.toml: cannot be read: No such file"):
        read_plan(tmp_path / "missing.toml")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_plan(tmp_path / "no folder" / "rollout.toml", plan_of())


def test_share_is_kept_for_every_challenger() -> None:
    tickets = [f"customer-{number}" for number in range(20_000)]
    for version in ("3-aaaa", "4-bbbb"):
        chosen = {ticket for ticket in tickets if is_chosen(ticket, version, 0.1)}
        assert 1_810 < len(chosen) < 2_190  # 4.5 standard deviations
        assert chosen <= {ticket for ticket in tickets if is_chosen(ticket, version, 0.3)}
        assert not any(is_chosen(ticket, version, 0.0) for ticket in tickets)
        assert all(is_chosen(ticket, version, 1.0) for ticket in tickets)
    both = [t for t in tickets if is_chosen(t, "3-aaaa", 0.1) and is_chosen(t, "4-bbbb", 0.1)]
    assert 135 < len(both) < 265, "independent of one another: 200 of them, give or take 64"


def test_a_key_makes_the_ticket_and_chance_where_there_is_none() -> None:
    assert ticket_of([("a", "b"), ("x-rollout-key", "shop-7")]) == "shop-7"
    assert len({ticket_of([("x-rollout-key", "")]) for _ in range(50)}) == 50


def test_promotion_keeps_the_former_champion_and_rollback_returns_to_it() -> None:
    plan = plan_of(challenger=challenger())
    promoted = steps.promote(plan)
    assert promoted.challenger is None
    assert str(promoted.champion.model_repository) == "/next"
    assert promoted.former == plan.champion
    back = steps.rollback(promoted)
    assert (back.champion, back.former) == (plan.champion, promoted.champion)
    assert steps.rollback(plan) == plan_of()


def test_share_and_mode_are_changed_within_bounds() -> None:
    plan = plan_of(challenger=challenger())
    changed = steps.change(plan, 0.5, "shadow").challenger
    assert changed is not None
    assert (changed.share, changed.mode) == (0.5, "shadow")
    assert (
        steps.change(plan, 0.2, None).challenger
        == checked_plan({"champion": {"model_repository": "/now"}, "challenger": challenger(share=0.2)}).challenger
    )
    with pytest.raises(InvalidInputError, match=r"challenger.share: 1.1"):
        steps.change(plan, 1.1, None)


@pytest.mark.parametrize("step", [steps.promote, steps.rollback, lambda plan: steps.change(plan, 0.5, None)])
def test_steps_without_a_challenger_are_refused(step: object) -> None:
    assert callable(step)
    with pytest.raises(InvalidInputError, match="there is no"):
        step(plan_of())


def test_commands_check_before_they_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rollout.toml"
    start = ["start", "--file", str(file), "--model-repository", str(tmp_path), "--mode", "shadow", "--share", "1"]
    assert main(start) == 2
    assert "--champion-repository" in capsys.readouterr().err
    write_plan(file, plan_of(challenger=challenger()))
    before = file.read_text(encoding="utf-8")
    assert main(["promote", "--file", str(file)]) == 2
    assert "/next/review_analysis" in capsys.readouterr().err
    assert main(["share", "7", "--file", str(file)]) == 2
    assert "challenger.share: 7.0" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == before
    assert main(["status", "--file", str(file), "--metrics", "http://127.0.0.1:9/metrics"]) == 2
    assert "is the front door running?" in capsys.readouterr().err
