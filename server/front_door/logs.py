"""Log lines on standard error, as JSON for machines or as text for people.

Whoever logs may pass fields: ``LOGGER.info("call", extra={FIELDS: {"code": "OK"}})``. Texts of reviews belong into
``log_reviews`` and nowhere else; for the same reason an exception is logged without its message, unless it is one
whose message cannot quote a review.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.errors import ReviewLensError
from server.front_door.settings import Logging

FIELDS = "fields"
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)  # json.dumps would make one for each line
REVIEW_LOGGER = logging.getLogger("reviewlens.reviews")
REVIEW_LOGGER.disabled = True  # until somebody asks for the texts
# Identifier of the call under way, "" outside of one.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")


def configure_logging(settings: Logging) -> None:
    """Send all records of this process to standard error, in place of what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    handler.addFilter(_is_news)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    REVIEW_LOGGER.disabled = not settings.log_review_text


def _is_news(record: logging.LogRecord) -> bool:
    """Not what gRPC reports when a call ended, by its deadline or its caller, while it was being answered."""
    return not (record.name == "grpc._cython.cygrpc" and record.msg.startswith("ExecuteBatchError"))


def log_reviews(analyses: Iterable[ReviewAnalysis]) -> None:
    """Log the reviews with what was found in them; nothing unless ``logging.log_review_text`` is set."""
    if REVIEW_LOGGER.disabled:
        return
    for analysis in analyses:
        found = {keyword.keyword: keyword.sentiment for keyword in analysis.keywords}
        fields = {
            "review_id": analysis.id,
            "text": analysis.text,
            "keywords": found,
            "code": analysis.error.code or "OK",
        }
        REVIEW_LOGGER.info("review", extra={FIELDS: fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, request_id within a call, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its newline."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, object] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _fields(record)
        if trace := _trace(record):
            line["exception"] = trace
        return _ENCODER.encode(line)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message and ``name=value`` fields on one line; a stack trace goes below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its newline."""
        time = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        trace = _trace(record)
        line = f"{time} {record.levelname:<7} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{trace}" if trace else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    request_id = current_request_id.get()
    return {**({"request_id": request_id} if request_id else {}), **getattr(record, FIELDS, {})}


def _shown(value: object) -> str:
    """A value as text: quoted, with its control characters escaped, when it could be taken for more than a value."""
    text = value if isinstance(value, str) else _ENCODER.encode(value)
    return text if text.isprintable() and not set(text) & {" ", "=", '"'} else _ENCODER.encode(text)


def _trace(record: logging.LogRecord) -> str:
    """Where an exception came from, and its type; the messages of ours and of the system only."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    message = f": {error}" if isinstance(error, ReviewLensError | OSError) else ""
    return f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__qualname__}{message}"
