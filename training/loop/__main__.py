"""The retraining loop: from a pool of reviews to a better model that is served, or to the reason why not.

    python -m training.loop run DIR --repository model_repository --pool new_reviews.jsonl --train reviews.jsonl
    python -m training.loop run DIR --labels filled_in.csv
    python -m training.loop status --run DIR --repository model_repository
    python -m training.loop rollback --repository model_repository

`run` selects reviews of the pool, writes them out for labelling, and ends with what to do next (exit status 3). Given
the labels, it checks them, trains both classifiers on old and new data, exports them, compares them with the served
version on held-out reviews by a paired bootstrap, and promotes them only when they are better beyond noise. Killed at
any point, the same command goes on. DIR/report.md tells what was done and why; docs/retraining.md has the details.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from client.errors import ReviewLensError
from client.served import served_version
from client.whole_files import write_whole
from export.versions import model_version, whole_versions
from training.data import LabelSet
from training.loop.decision import Decision, Rule, decide
from training.loop.files import locked, make_folder
from training.loop.labelling import add_answers, read_answers
from training.loop.options import add_comparison_options, add_run_options, given_settings, new_settings
from training.loop.promotion import Change, history, promote, rollback
from training.loop.report import comparison_table
from training.loop.runner import REPORT, go_on
from training.loop.settings import STATE_FILE, Run
from training.loop.steps import STEPS

DONE, NOT_BETTER, FAILED, WAITING = 0, 1, 2, 3


def run(args: argparse.Namespace) -> int:
    """Begin a run or go on with it."""
    folder: Path = args.folder
    begun = (folder / STATE_FILE).is_file()
    settings = None if begun else new_settings(args)
    make_folder(folder)
    with locked(folder):
        state = Run.begin(folder, settings) if settings else Run.open(folder)
        state.require(given_settings(args))
        state.accept = args.accept
        answers = read_answers(state, args.labels)
        order = list(STEPS)
        # New labels are to be used, also where --again names a step behind them.
        begin_at = [order.index(step) for step in (args.again, "labels" if answers else None) if step]
        if begin_at:
            state.forget(tuple(order[min(begin_at) :]))
        if answers:
            add_answers(state, answers)
        message = go_on(state)
    print(message or f"{folder / REPORT}: the run is finished")
    return WAITING if message else DONE


def compare(args: argparse.Namespace) -> int:
    """Compare two repositories and say what the rule makes of it."""
    _, decision = _compared(args, args.champion, args.challenger)
    return DONE if decision.promote else NOT_BETTER


def promote_challenger(args: argparse.Namespace) -> int:
    """Promote a challenger that is better, or, with --why, without asking."""
    if args.why:
        _tell(args.repository, promote(args.challenger, args.repository, args.why))
        return DONE
    champion, decision = _compared(args, args.repository, args.challenger)
    if decision.promote:
        _tell(args.repository, promote(args.challenger, args.repository, decision.reasons[0], champion=champion))
        return DONE
    return NOT_BETTER


def roll_back(args: argparse.Namespace) -> int:
    """Serve the version before."""
    _tell(args.repository, rollback(args.repository, args.why, to=args.to))
    return DONE


def status(args: argparse.Namespace) -> int:
    """Show how far a run is, and which versions a repository has."""
    if args.run:
        state = Run.open(args.run)
        for name in STEPS:
            done = state.finished.get(name)
            print(f"{name:<12}{done['finished']}  {done['seconds']:.0f} s" if done else f"{name:<12}-")
    if args.repository:
        served = served_version(args.repository)
        for version in whole_versions(args.repository):
            print(f"{model_version(args.repository, version)}{'  served' if version == served else ''}")
        for change in history(args.repository):
            print(f"{change.time}  {change.action} {change.before} -> {change.after}: {change.why}")
    return DONE


def _compared(args: argparse.Namespace, champion: Path, challenger: Path) -> tuple[str, Decision]:
    """The model version of the champion that was compared, and the decision."""
    from training.loop.comparison import compare as compare_repositories

    rule = Rule(args.primary, args.tolerance)
    comparison = compare_repositories(
        champion, challenger, args.data, LabelSet.load(args.label_set), resamples=args.resamples, seed=args.seed
    )
    decision = decide(comparison.metrics, rule)
    print("\n\n".join(comparison_table(asdict(comparison))), end="\n\n")
    print("\n".join(decision.reasons))
    if args.output:
        values = {**asdict(comparison), "decision": asdict(decision)}
        write_whole(args.output, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    return comparison.champion, decision


def _tell(repository: Path, change: Change) -> None:
    print(
        f"{repository}: version {change.after} (model_version {change.model_version}) is served, before it was "
        f"{change.before}. A running Triton serves it when it is started again (docs/retraining.md)."
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; ``command`` is the function to call."""
    parser = argparse.ArgumentParser(
        prog="python -m training.loop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], told: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=told, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    sub = add("run", run, "begin a run or go on with it")
    sub.add_argument("folder", type=Path, metavar="DIR", help="folder of the run")
    sub.add_argument(
        "--labels", type=Path, nargs="+", default=[], metavar="FILE", help="filled-in .csv, or .json of Label Studio"
    )
    sub.add_argument("--accept", action="store_true", help="train on the labels that hold, however few")
    sub.add_argument("--again", choices=tuple(STEPS), metavar="STEP", help=f"do again from: {', '.join(STEPS)}")
    add_run_options(sub)

    sub = add("compare", compare, "compare the served versions of two repositories; 1: not better beyond noise")
    sub.add_argument("--champion", type=Path, required=True, metavar="DIR")
    sub.add_argument("--challenger", type=Path, required=True, metavar="DIR")
    add_comparison_options(sub, needs_data=True)

    sub = add("promote", promote_challenger, "compare and, where better, promote; 1: not better beyond noise")
    sub.add_argument("--challenger", type=Path, required=True, metavar="DIR", help="repository that serves it")
    sub.add_argument("--repository", type=Path, required=True, metavar="DIR", help="repository that gets it")
    sub.add_argument("--why", help="promote without a comparison, for this reason")
    add_comparison_options(sub, needs_data=False)

    sub = add("rollback", roll_back, "serve the version before the present one again")
    sub.add_argument("--repository", type=Path, required=True, metavar="DIR")
    sub.add_argument("--to", type=int, metavar="N", help="this version instead")
    sub.add_argument("--why", default="by hand", help="for the history (default: %(default)s)")

    sub = add("status", status, "how far a run is, and what a repository serves")
    sub.add_argument("--run", type=Path, metavar="DIR")
    sub.add_argument("--repository", type=Path, metavar="DIR")
    args = parser.parse_args(arguments)
    if args.command is promote_challenger and bool(args.why) == bool(args.data):
        parser.error("promote: give --data to compare on, or --why to promote without")
    if args.command is status and not (args.run or args.repository):
        parser.error("status: give --run, --repository or both")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 not better, 2 an error, 3 the run waits for labels."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # The exporter warns of every package that it could use and that is not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        return int(args.command(args))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
