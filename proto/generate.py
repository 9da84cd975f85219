"""Generate the Python code of the protos: ``python proto/generate.py``, or ``--check`` that it is current."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(target: Path) -> None:
    """Write ``*_pb2.py`` and ``*_pb2.pyi`` of every proto under ``target``."""
    protos = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.proto"))]
    status = protoc.main(["protoc", f"-I{ROOT}", f"--python_out={target}", f"--pyi_out={target}", *protos])
    if status:
        raise SystemExit(f"protoc failed with status {status}")


def generated(folder: Path) -> dict[str, str]:
    """The generated files under a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*_pb2*.py*")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the committed code is stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = generated(Path(folder))
    committed = {name: text for name, text in generated(ROOT).items() if "__pycache__" not in name}
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    for name in stale:
        print(f"{name} is stale: run python proto/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
