"""Start-up time and memory of a whole run: the CLI with its embedded Triton.

    python -m benchmarks.footprint

A file of invented reviews (the sample reviews' words, shuffled; one in a hundred about 2,000 characters long) goes
through ``client/analyze.py``. Memory is the resident set of the process and all its descendants, summed, at its
highest; pages that processes share count in each.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from server.embedded import EmbeddedTriton

ROOT = Path(__file__).resolve().parent.parent
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def invented_reviews(count: int, seed: int = 1) -> list[str]:
    """Reviews of 3 to 30 words, every hundredth of 400."""
    words = (ROOT / "samples" / "reviews.txt").read_text(encoding="utf-8").split()
    rng = random.Random(seed)  # noqa: S311
    return [" ".join(rng.choices(words, k=400 if n % 100 == 99 else rng.randint(3, 30))) for n in range(count)]


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its descendants, in MiB; processes that have ended count 0."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MIB
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0.0
    return own + sum(resident_mib(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.footprint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--reviews", type=int, default=3000, help="(default: %(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    with EmbeddedTriton(args.repository):
        print(f"embedded Triton ready after {time.perf_counter() - start:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "reviews.txt"
        source.write_text("\n".join(invented_reviews(args.reviews)), encoding="utf-8")
        command = [sys.executable, str(ROOT / "client" / "analyze.py"), "--input", str(source), "--format", "jsonl"]
        start, peak = time.perf_counter(), 0.0
        with subprocess.Popen(
            [*command, "--model-repository", str(args.repository), "--output", str(Path(folder) / "out.jsonl")]
        ) as process:
            while process.poll() is None:
                peak = max(peak, resident_mib(process.pid))
                time.sleep(0.1)
        seconds = time.perf_counter() - start
    print(f"{args.reviews} reviews in {seconds:.0f} s, exit {process.returncode}; at most {peak:.0f} MiB resident")


if __name__ == "__main__":
    main()
