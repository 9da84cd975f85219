"""The command `reviewlens-server`: start the front door, or check its configuration. See ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from client.errors import ReviewLensError
from server.front_door.checks import check
from server.front_door.configuration import SettingsFlags, as_toml, write_table
from server.front_door.logs import configure_logging
from server.front_door.server import FrontDoor
from server.front_door.settings import Settings

DESCRIPTION = """\
Serve reviewlens.v1.ReviewAnalysisService over gRPC until Ctrl-C or SIGTERM.

Without --triton-url a Triton server is started on this machine, for development; production runs NVIDIA's image."""

EXAMPLES = """\
examples:
  reviewlens-server                                          # 127.0.0.1:8500, an embedded Triton, no TLS
  reviewlens-server --triton-url triton:8001 --config reviewlens.toml
  REVIEWLENS_LIMITS__MAX_REVIEWS=64 reviewlens-server
  reviewlens-server --config reviewlens.toml --check-config  # and print what would be in force

settings: flags go before the environment, that goes before the --config file (TOML), and that before the defaults.
  --limits.max-reviews 64, REVIEWLENS_LIMITS__MAX_REVIEWS=64, and max_reviews = 64 below [limits] are the same.
  docs/configuration.md lists them all.

signals: SIGTERM and Ctrl-C let accepted calls finish within --drain-s; a second one ends the server at once.
  SIGHUP looks at once whether another version is to be served; docs/rollout.md.

exit status: 0 after a signal, or if the checked configuration is good; 2 wrong usage or configuration, or no start."""

NOT_STARTED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="reviewlens-server",
        usage="%(prog)s [--config FILE] [--check-config] [SETTING ...]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    parser.add_argument("--check-config", action="store_true", help="check the settings, print them and exit")
    parser.add_argument(
        "--write-config-table", type=Path, metavar="FILE", help="write the table of settings into a document and exit"
    )
    parser.add_argument(
        "--version", action="version", version=f"reviewlens-server {importlib.metadata.version('reviewlens')}"
    )
    flags = SettingsFlags(parser)
    options = parser.parse_args(arguments)
    try:
        if options.write_config_table:
            write_table(options.write_config_table)
            return 0
        settings = flags.load(options, options.config)
        if options.check_config:
            return _report(settings)
        configure_logging(settings.logging)
        asyncio.run(serve(settings))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_STARTED
    return 0


def _report(settings: Settings) -> int:
    """Print the settings as a file, and what is wrong with them."""
    print(as_toml(settings), end="")
    problems = check(settings)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return NOT_STARTED if problems else 0


async def serve(settings: Settings) -> None:
    """Serve until the first signal, then drain and end the process with status 0; a second signal ends it at once.

    Raises:
        ReviewLensError: it does not start; see ``FrontDoor.start``.
    """
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)  # the embedded Triton notices, and ends too
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    door = FrontDoor(settings)
    loop.add_signal_handler(signal.SIGHUP, door.reload)
    starting = asyncio.create_task(door.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        await starting
        print(f"serving on {door.address}", flush=True)
        await stopping
    logging.getLogger(__name__).info("draining for at most %g s", settings.drain_s)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await door.drain(settings.drain_s, process_ends=True)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # before gRPC closes connections in its way: see FrontDoor.drain


if __name__ == "__main__":
    sys.exit(main())
