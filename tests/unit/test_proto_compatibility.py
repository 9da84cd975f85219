"""No change of the protos breaks a caller: ``proto/generate.py`` refuses it by name, and takes additions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent.parent
RESULT = "review_analysis.proto"
SERVICE = "review_analysis_service.proto"


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy of ``proto/`` to edit."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__")))


def edit(protos: Path, name: str, old: str, new: str) -> None:
    """Replace a text that stands once in a proto."""
    file = protos / "reviewlens" / "v1" / name
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def generate(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(protos / "generate.py"), *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        (RESULT, "  bool truncated = 4;\n", "", 'field "4" with name "truncated" on message "ReviewAnalysis"'),
        (RESULT, "int32 score = 4;", "int32 score = 9;", 'field "4" with name "score" on message "KeywordAnalysis"'),
        (RESULT, "int32 score = 4;", "string score = 4;", 'Field "4" with name "score" on message "KeywordAnalysis"'),
        (SERVICE, "float threshold = 2;", "float bound = 2;", 'Field "2" with name "bound" on message "KeywordLabel"'),
        (SERVICE, "  HIGHLIGHT_MODE_OFF = 3;\n", "", 'enum value "3" on enum "HighlightMode"'),
        (SERVICE, "  rpc GetInfo(GetInfoRequest) returns (GetInfoResponse);\n", "", 'RPC "GetInfo" on service'),
        (SERVICE, "AnalyzeStream(stream ", "AnalyzeStream(", 'RPC "AnalyzeStream"'),
    ],
    ids=["removed", "renumbered", "retyped", "renamed", "enum value removed", "method removed", "method not streamed"],
)
def test_a_change_that_breaks_callers_is_refused_by_name(
    protos: Path, name: str, old: str, new: str, finding: str
) -> None:
    before = (protos / "descriptors.binpb").read_bytes()
    edit(protos, name, old, new)
    for arguments in ((), ("--check",)):
        refused = generate(protos, *arguments)
        assert refused.returncode == 1
        assert finding in refused.stderr
        assert "break callers" in refused.stderr
    assert (protos / "descriptors.binpb").read_bytes() == before


def test_an_addition_passes_once_it_is_generated(protos: Path) -> None:
    edit(
        protos,
        SERVICE,
        "  int32 max_calls_per_client = 4;\n",
        "  int32 max_calls_per_client = 4;\n  int32 added = 100;\n",
    )
    check = generate(protos, "--check")
    assert check.returncode == 1
    assert "descriptors.binpb is stale" in check.stderr
    assert "review_analysis_service_pb2.py is stale" in check.stderr
    assert generate(protos).returncode == 0
    assert generate(protos, "--check").returncode == 0


def test_descriptor_set_is_complete_for_dynamic_callers() -> None:
    files = FileDescriptorSet.FromString((ROOT / "proto" / "descriptors.binpb").read_bytes()).file
    assert {file.name for file in files} == {
        "google/protobuf/duration.proto",
        "reviewlens/v1/review_analysis.proto",
        "reviewlens/v1/review_analysis_service.proto",
    }
