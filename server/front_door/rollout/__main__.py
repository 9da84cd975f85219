"""Commands of a rollout: start, share, promote, rollback, status, report. See ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from client.errors import InvalidInputError, ReviewLensError
from server.front_door.rollout import steps
from server.front_door.rollout.comparison import merged
from server.front_door.rollout.journal import read_journal
from server.front_door.rollout.plan import Plan, Source, as_toml, checked_plan, read_plan, write_plan
from server.front_door.rollout.report import markdown
from server.front_door.rollout.status import serving

DESCRIPTION = """\
Change which model versions a running front door serves, through the file that its setting rollout.file names.

Every command checks the outcome before it writes, and writes the whole file or nothing. The front door notices the
change within rollout.check_every_s seconds, gets a new version ready, and switches to it only when both of its models
have answered; until then, and if they do not, it goes on as before. No call is dropped."""

EXAMPLES = """\
examples:
  python -m server.front_door.rollout start --file rollout.toml --model-repository next --mode shadow --share 0.2
  python -m server.front_door.rollout report comparison.json        # of rollout.report_file; several are added up
  python -m server.front_door.rollout share 0.1 --mode split --file rollout.toml
  python -m server.front_door.rollout promote --file rollout.toml
  python -m server.front_door.rollout rollback --file rollout.toml  # take the challenger away, or undo the promotion
  python -m server.front_door.rollout status --file rollout.toml --metrics http://127.0.0.1:9500/metrics

exit status: 0 done, 2 wrong usage, a file that cannot be used, or nothing answers at --metrics."""

FAILED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.front_door.rollout",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    start = _command(commands, "start", _start, "put a challenger beside the champion")
    start.add_argument("--model-repository", type=Path, required=True, help="repository of the challenger")
    start.add_argument("--triton-url", default="", help="HOST:PORT of its Triton; without, an embedded one is started")
    start.add_argument("--version", type=int, help="its version folder; without, the one that the repository serves")
    start.add_argument("--mode", choices=("split", "shadow"), required=True, help="answer calls, or only be compared")
    start.add_argument("--share", type=float, required=True, help="share of the calls, 0 to 1")
    start.add_argument("--champion-repository", type=Path, help="repository of the champion, if --file is not there")
    start.add_argument("--champion-triton-url", default="", help="HOST:PORT of its Triton, if --file is not there")

    share = _command(commands, "share", _share, "change the challenger's share or mode")
    share.add_argument("share", type=float, help="share of the calls, 0 to 1")
    share.add_argument(
        "--mode", choices=("split", "shadow"), help="answer calls, or only be compared; as it was without"
    )

    _command(commands, "promote", _promote, "make the challenger the champion")
    _command(commands, "rollback", _rollback, "take the challenger away or, without one, undo the last promotion")
    status = _command(commands, "status", _status, "show the file and, with --metrics, what is served")
    status.add_argument("--metrics", help="address of the front door's metrics, as http://127.0.0.1:9500/metrics")

    report = commands.add_parser("report", help="the comparison of shadow traffic as Markdown")
    report.add_argument("reports", type=Path, nargs="+", metavar="FILE", help="rollout.report_file of each front door")
    report.set_defaults(run=_report)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--file", type=Path, required=True, help="the rollout file")
    command.set_defaults(run=run)
    return command


def _start(options: argparse.Namespace) -> None:
    if options.file.exists():
        if options.champion_repository or options.champion_triton_url:
            raise InvalidInputError(
                f"--champion-repository: {options.file} is there and names the champion; leave it out"
            )
        plan = read_plan(options.file)
    elif options.champion_repository:
        plan = Plan(champion=_source(options.champion_repository, options.champion_triton_url))
    else:
        raise InvalidInputError(f"--file {options.file}: not there yet; name the champion with --champion-repository")
    challenger = _source(options.model_repository, options.triton_url, options.version)
    _write(options.file, steps.start(plan, challenger, options.mode, options.share))


def _source(repository: Path, triton_url: str, version: int | None = None) -> Source:
    source = {"model_repository": repository.absolute(), "triton_url": triton_url, "version": version}
    return checked_plan({"champion": source}).champion


def _share(options: argparse.Namespace) -> None:
    _write(options.file, steps.change(read_plan(options.file), options.share, options.mode))


def _promote(options: argparse.Namespace) -> None:
    _write(options.file, steps.promote(read_plan(options.file)))


def _rollback(options: argparse.Namespace) -> None:
    _write(options.file, steps.rollback(read_plan(options.file)))


def _write(file: Path, plan: Plan) -> None:
    """Write the plan once the artifacts of all that it serves have been read."""
    for source in filter(None, [plan.champion, plan.challenger]):
        source.artifact()
    write_plan(file, plan)
    print(_shown(plan), end="")


def _status(options: argparse.Namespace) -> None:
    print(_shown(read_plan(options.file)), end="")
    if options.metrics:
        print("\nserved now:", *serving(options.metrics), sep="\n  ")


def _shown(plan: Plan) -> str:
    return as_toml(plan).partition("\n\n")[2]


def _report(options: argparse.Namespace) -> None:
    journals = [read_journal(file) for file in options.reports]
    print(markdown(list(merged([comparison for journal in journals for comparison in journal.comparisons]))), end="")


if __name__ == "__main__":
    sys.exit(main())
