"""Generate what is committed beside the protos: their Python code, and the descriptor set that callers rely on.

python proto/generate.py            write both, unless the protos would break a caller
python proto/generate.py --check    write nothing; exit 1 and name what is stale or broken
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
WELL_KNOWN_PROTOS = Path(grpc_tools.__file__).parent / "_proto"
DESCRIPTORS = "descriptors.binpb"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", DESCRIPTORS)
# Where pip puts programs: an environment that is not activated does not have them on PATH.
PROGRAMS = Path(sysconfig.get_path("scripts"))


def generate(target: Path) -> None:
    """Write ``*_pb2`` of every proto, ``*_pb2_grpc`` of every service, and the set of all descriptors under ``target``.

    Raises SystemExit when a proto does not compile; protoc has then said why on stderr.
    """
    protos = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.proto"))]
    _protoc(
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--descriptor_set_out={target / DESCRIPTORS}",
        "--include_imports",
        *protos,
    )
    _protoc(
        f"--plugin=protoc-gen-mypy_grpc={PROGRAMS / 'protoc-gen-mypy_grpc'}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet:{target}",
        *(name for name in protos if name.endswith("_service.proto")),
    )


def _protoc(*arguments: str) -> None:
    if status := protoc.main(["protoc", f"-I{ROOT}", f"-I{WELL_KNOWN_PROTOS}", *arguments]):
        raise SystemExit(f"protoc failed with status {status}")


def breaking_changes() -> str:
    """What in the protos breaks callers of the committed descriptor set, a finding a line; empty when nothing does.

    Rules: https://buf.build/docs/breaking/rules, category FILE as proto/buf.yaml says.
    """
    if not (ROOT / DESCRIPTORS).exists():
        return ""
    check = [str(PROGRAMS / "buf"), "breaking", "--against", DESCRIPTORS]
    run = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    return run.stdout + run.stderr if run.returncode else ""


def stale_files() -> list[str]:
    """Committed files that are not what the protos generate now, by path relative to this folder."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = _contents(Path(folder))
    committed = _contents(ROOT)
    return sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for pattern in GENERATED for path in folder.rglob(pattern)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale or broken")
    arguments = parser.parse_args()
    if findings := breaking_changes():
        print(f"{findings}These changes break callers. Add to v1, or start a package v2 beside it.", file=sys.stderr)
        return 1
    if not arguments.check:
        generate(ROOT)
        return 0
    stale = stale_files()
    for name in stale:
        print(f"{name} is stale: run python proto/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
