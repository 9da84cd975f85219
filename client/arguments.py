"""The command line's arguments: what they are, what they may be, and the help that teaches them."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from client.options import AnalysisOptions, BatchingOptions, HighlightMode
from client.readers import FORMATS
from client.rendering import RENDERERS

MODEL_REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"

DESCRIPTION = """\
Analyze Korean fashion reviews: keywords, the sentiment of each, and the words that each rests on.

Without --url a Triton server is started for the run on this machine, and stopped after it."""

EXAMPLES = """\
examples:
  %(prog)s "배송은 빠른데 핏이 아쉬워요"
  %(prog)s --input reviews.csv --text-column 리뷰 --output keywords.csv --format csv
  %(prog)s --input reviews.jsonl.gz --format jsonl --highlight fast > keywords.jsonl
  cat reviews.txt | %(prog)s --input - --format json
  %(prog)s --url triton:8001 --input reviews.parquet --output keywords.jsonl --format jsonl

input: .txt (a review a line), .csv and .tsv (with a header line), .jsonl (objects with "text" and, if you like, "id"),
  .parquet; text formats also gzipped. All text is UTF-8. Reviews without an id get their line or row number.

exit status: 0 all reviews were analyzed; 1 some were not, each is reported with its line, and all others are in the
  output; 2 wrong usage or input, or no server; 130 after Ctrl-C.
"""


@dataclass(frozen=True)
class Arguments:
    """A valid command line. Either ``texts`` or ``input`` is given; ``url`` is None for the embedded Triton."""

    texts: tuple[str, ...]
    input: str | None
    input_format: str | None
    text_column: str | None
    id_column: str | None
    output: Path | None
    format: str
    color: Literal["auto", "always", "never"]
    url: str | None
    model_repository: Path
    options: AnalysisOptions
    batching: BatchingOptions


def parse_arguments(arguments: list[str] | None = None) -> Arguments:
    """Parse ``sys.argv`` or the given arguments. Exits with status 2, and a message, if they are wrong."""
    parser = _parser()
    values = parser.parse_args(arguments)
    if bool(values.texts) == (values.input is not None):
        parser.error("give reviews either as arguments or with --input FILE (- for standard input)")
    if values.texts and (values.text_column or values.id_column or values.input_format):
        parser.error("--input-format, --text-column and --id-column go with --input FILE")
    return Arguments(
        texts=tuple(values.texts),
        input=values.input,
        input_format=values.input_format,
        text_column=values.text_column,
        id_column=values.id_column,
        output=values.output,
        format=values.format,
        color=values.color,
        url=values.url,
        model_repository=values.model_repository,
        options=AnalysisOptions(highlight=values.highlight, max_characters=values.max_characters),
        batching=BatchingOptions(token_budget=values.token_budget, request_timeout_s=values.deadline),
    )


def _parser() -> argparse.ArgumentParser:
    defaults, batching = AnalysisOptions(), BatchingOptions()
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="a review")

    files = parser.add_argument_group("input and output")
    files.add_argument("--input", metavar="FILE", help="read reviews from a file, or from standard input (-)")
    files.add_argument("--input-format", choices=FORMATS, help="default: the file's extension; txt for -")
    files.add_argument("--text-column", metavar="NAME", help='column or field of the review (default: "text")')
    files.add_argument("--id-column", metavar="NAME", help='column or field of the id (default: "id" if there is one)')
    files.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    files.add_argument("--format", choices=RENDERERS, default="table", help="default: %(default)s")
    files.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colour the table; auto does on a terminal, unless NO_COLOR is set",
    )

    analysis = parser.add_argument_group("analysis")
    analysis.add_argument(
        "--highlight",
        choices=get_args(HighlightMode),
        default=defaults.highlight,
        help="find the words that a keyword rests on by masking each (exact), groups of them first (fast), or do not "
        "(default: %(default)s)",
    )
    analysis.add_argument(
        "--max-characters",
        type=_count,
        default=defaults.max_characters,
        metavar="N",
        help="longer reviews are reported instead of analyzed (default: %(default)s)",
    )

    server = parser.add_argument_group("server")
    server.add_argument("--url", type=_url, metavar="HOST:PORT", help="gRPC address of a running Triton")
    server.add_argument(
        "--model-repository",
        type=Path,
        default=MODEL_REPOSITORY,
        metavar="FOLDER",
        help="what the server runs; the tokenizer and labels are read from it (default: beside this program)",
    )
    server.add_argument(
        "--deadline",
        type=_seconds,
        default=batching.request_timeout_s,
        metavar="SECONDS",
        help="for each request, retries included (default: %(default)g)",
    )
    server.add_argument(
        "--token-budget",
        type=_count,
        default=batching.token_budget,
        metavar="N",
        help="tokens in one request: more is faster on a GPU and takes more memory (default: %(default)s)",
    )
    version = importlib.metadata.version("reviewlens")
    parser.add_argument("--version", action="version", version=f"reviewlens {version}")
    return parser


def _url(text: str) -> str:
    match = re.fullmatch(r"(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in localhost:8001 (the gRPC port, no http://)")
    if not 0 < int(match[1]) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: {match[1]} is not a port (1 to 65535)")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
