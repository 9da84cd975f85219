"""Graphs are timed side by side, and none of them always comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.compression.latency import seconds_side_by_side


def test_no_graph_always_runs_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Session:
        def __init__(self, file: Path, *_: Any, **__: Any) -> None:
            self.file = file

        def run(self, *_: Any) -> None:
            ran.append(self.file.name)

    monkeypatch.setattr("export.compression.latency.ort.InferenceSession", Session)
    assert len(seconds_side_by_side([Path("a"), Path("b")], [{}, {}], 4)) == 2
    warmed = ["".join(ran[i : i + 2]) for i in range(2, len(ran), 2)]
    assert sorted(warmed) == ["ab", "ab", "ba", "ba"]
