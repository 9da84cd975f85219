"""The command line: reviews from arguments or a file, analyses to standard output or a file. See ``--help``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.arguments import Arguments, parse_arguments
from client.artifact import Artifact
from client.chunks import InputRow
from client.errors import InvalidInputError, ReviewLensError
from client.progress import ProgressReport
from client.readers import read_rows
from client.rendering import RENDERERS
from client.results import ReviewInput
from client.served import served_artifact_folder

SOME_FAILED = 1
NOT_STARTED = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # Raised at once, also out of a read that waits for standard input; asyncio's own handler would wait for it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return _run(parse_arguments(arguments))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_STARTED
    except KeyboardInterrupt as interrupt:
        return 128 + int(interrupt.args[0])
    except BrokenPipeError:  # who reads the results has enough
        return 128 + signal.SIGPIPE


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _run(arguments: Arguments) -> int:
    rows = _rows(arguments)
    artifact = Artifact.load(served_artifact_folder(arguments.model_repository))
    with _output(arguments.output) as out, _server(arguments) as url:
        failed = asyncio.run(_analyze(arguments, rows, url, artifact, out))
    return SOME_FAILED if failed else 0


def _rows(arguments: Arguments) -> Iterator[InputRow]:
    """The input, of which the first row has been read: a missing file or column shows before a server is started."""
    if arguments.input is None:
        return iter([ReviewInput(text, str(number)) for number, text in enumerate(arguments.texts, 1)])
    rows = read_rows(
        arguments.input,
        file_format=arguments.input_format,
        text_column=arguments.text_column,
        id_column=arguments.id_column,
    )
    return itertools.chain(list(itertools.islice(rows, 1)), rows)


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    # A device or pipe is written as it is.
    partial = path if path.exists() and not path.is_file() else path.with_name(f"{path.name}.partial")
    try:
        file = partial.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInputError(f"--output {path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            yield file
        except BaseException:
            file.flush()
            if partial != path and partial.stat().st_size == 0:
                partial.unlink()
            elif partial != path:
                print(f"{partial} holds the results so far; {path} was not written", file=sys.stderr)
            raise
    if partial != path:
        partial.replace(path)


@contextlib.contextmanager
def _writing(path: Path | None, out: TextIO) -> Iterator[None]:
    """Report a failed write, as on a full disk, and drop what is buffered: Python would fail on it at exit."""
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        place = f"--output {path}" if path else "standard output"
        raise InvalidInputError(f"{place}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _server(arguments: Arguments) -> Iterator[str]:
    """The address of the Triton to use: the given one, or an embedded one that ends with the block."""
    if arguments.url is not None:
        yield arguments.url
        return
    # Imported here: with --url the client needs no server code.
    from server.embedded import EmbeddedTriton

    with EmbeddedTriton(arguments.model_repository) as triton:
        yield triton.grpc_url


async def _analyze(arguments: Arguments, rows: Iterator[InputRow], url: str, artifact: Artifact, out: TextIO) -> int:
    """Analyze everything and return how many reviews failed."""
    failed = done = 0
    async with await ReviewAnalyzer.connect(url, artifact, arguments.options, arguments.batching) as analyzer:
        with _writing(arguments.output, out):
            renderer = RENDERERS[arguments.format](out, _wants_color(arguments.color, out))
        with ProgressReport(live=not out.isatty()) as report:
            async for analysis in analyzer.analyze_stream(rows, progress=report.update):
                with _writing(arguments.output, out):
                    renderer.write(analysis)
                    out.flush()
                done += 1
                if analysis.HasField("error"):
                    failed += 1
                    report.problem(_problem(arguments.input, analysis))
            if not done:
                report.problem(f"{arguments.input}: no reviews in it")
            if failed:
                report.problem(f"{failed:,} of {done:,} reviews failed")
        with _writing(arguments.output, out):
            renderer.close()
            out.flush()
    return failed


def _wants_color(color: str, out: TextIO) -> bool:
    if color != "auto":
        return color == "always"
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _problem(source: str | None, analysis: ReviewAnalysis) -> str:
    place = f"{source}, line {analysis.error.line}" if source is not None else f"review {analysis.id}"
    return f"{place}: {analysis.error.code}: {analysis.error.message}"


if __name__ == "__main__":
    sys.exit(main())
