"""Checkpoints to a Triton model repository.

    python -m export --keyword checkpoints/keyword --sentiment checkpoints/sentiment --repository model_repository

The new version is checked against torch, in onnxruntime and in the embedded Triton, before anything is written.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from client.errors import ReviewLensError
from export.install import write_configs
from export.repository import PRECISIONS, export_repository


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the repository was written, 1 when it was not, 2 for wrong usage (by SystemExit)."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("export").setLevel(logging.INFO)
    # The exporter warns of every package that it could use and that is not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    command = parser()
    options = command.parse_args(arguments)
    if not options.configs_only and not (options.keyword and options.sentiment):
        command.error("--keyword and --sentiment are needed (or --configs-only)")
    if options.threads < 0:
        command.error(f"--threads {options.threads}: 0 or more")
    log = logging.getLogger("export")
    serving = {"target": options.target, "threads": options.threads, "accelerator": options.accelerator}
    try:
        if options.configs_only:
            version = write_configs(options.repository, **serving)
            log.info("%s: wrote the configurations of version %d", options.repository, version)
            return 0
        report = export_repository(
            options.keyword,
            options.sentiment,
            options.repository,
            precision=options.precision,
            version=options.version,
            max_loss=options.max_loss,
            evaluation=options.evaluation,
            skip_triton=options.skip_triton,
            prune=options.prune,
            **serving,
        )
    except ReviewLensError as error:
        log.error("export: %s", error)
        return 1
    if report.triton is None:
        log.warning("not checked in Triton (--skip-triton)")
    log.info("%s: version %d is pinned, model_version %s", options.repository, report.version, report.model_version)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--keyword", type=Path, metavar="DIR", help="checkpoint with an output a keyword")
    add("--sentiment", type=Path, metavar="DIR", help="checkpoint with an output a sentiment")
    add("--repository", type=Path, metavar="DIR", required=True, help="model repository; created if there is none")
    add("--target", choices=tuple(PRECISIONS), default="cpu", help="what to configure for (default: %(default)s)")
    add("--precision", choices=("fp32", "fp16", "int8"), help="of the graphs (default: int8 for cpu, fp16 for gpu)")
    add("--version", type=int, metavar="N", help="number of the new version (default: the next one)")
    add("--threads", type=int, default=0, metavar="N", help="onnxruntime threads a model on a CPU; 0: one a core")
    add("--accelerator", choices=("cuda", "tensorrt"), default="cuda", help="on a GPU (default: %(default)s)")
    add(
        "--max-loss",
        type=float,
        default=0.05,
        metavar="P",
        help="refuse int8 or fp16 that changes a probability by more than P (default: %(default)s)",
    )
    add("--evaluation", type=Path, metavar="FILE", help="reviews to measure that on (default: samples/reviews.txt)")
    add("--skip-triton", action="store_true", help="do not check in the embedded Triton")
    add("--prune", action="store_true", help="remove the older versions")
    add("--configs-only", action="store_true", help="only write config.pbtxt of the newest version anew")
    return result


if __name__ == "__main__":
    sys.exit(main())
