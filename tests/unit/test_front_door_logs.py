"""Lines of the log: their form, and what must not be in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest
from reviewlens.v1.review_analysis_pb2 import KeywordAnalysis, ReviewAnalysis

from client.errors import InferenceError
from server.front_door.logs import FIELDS, JsonFormatter, configure_logging, current_request_id, log_reviews
from server.front_door.observer import usable_request_id
from server.front_door.settings import Logging

REVIEW = "소매가 짧아서 손목이 다 보여요"


Written = Callable[[], str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Gives what has gone to standard error since it was last asked; ends with logging as it was before."""
    root = logging.getLogger()
    level = root.level
    yield lambda: capsys.readouterr().err
    configure_logging(Logging())  # texts off again
    root.handlers[:] = [h for h in root.handlers if not isinstance(h.formatter, JsonFormatter)]
    root.setLevel(level)


def fail() -> None:
    raise ValueError(REVIEW)


def test_a_json_line_has_what_a_machine_needs(written: Written) -> None:
    configure_logging(Logging(format="json"))
    reset = current_request_id.set("r-1")
    logging.getLogger("server.test").info("call %d", 7, extra={FIELDS: {"code": "OK", "client": "token:가게\n"}})
    current_request_id.reset(reset)
    logging.getLogger("server.test").debug("not this one")
    (line,) = written().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "server.test",
        "message": "call 7",
        "request_id": "r-1",
        "code": "OK",
        "client": "token:가게\n",
    }


def test_a_text_line_cannot_be_forged(written: Written) -> None:
    configure_logging(Logging(format="text", level="debug"))
    fields = {"client": "certificate:shop\n2026 error", "seconds": 0.5, "method": "s/Analyze"}
    logging.getLogger("server.test").debug("call", extra={FIELDS: fields})
    (line,) = written().splitlines()
    assert line.endswith('server.test: call client="certificate:shop\\n2026 error" seconds=0.5 method=s/Analyze')


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exceptions_own_words_stay_out_unless_they_are_ours(written: Written, form: str) -> None:
    configure_logging(Logging.model_validate({"format": form}))
    logger = logging.getLogger("server.test")
    try:
        fail()
    except ValueError:
        logger.exception("failed")
    line = written()
    assert REVIEW not in line
    assert "ValueError" in line
    assert "in fail" in line
    try:
        raise InferenceError("Triton: INTERNAL: out of memory")
    except InferenceError:
        logger.exception("failed")
    assert "out of memory" in written()


def test_texts_are_logged_only_when_asked_for(written: Written) -> None:
    keywords = [KeywordAnalysis(keyword="길이", sentiment="부정")]
    analyses = [ReviewAnalysis(id="7", text=REVIEW, keywords=keywords)]
    configure_logging(Logging(level="debug"))
    log_reviews(analyses)
    assert written() == ""
    configure_logging(Logging(log_review_text=True))
    log_reviews(analyses)
    record = json.loads(written())
    assert (record["review_id"], record["text"], record["keywords"]) == ("7", REVIEW, {"길이": "부정"})
    configure_logging(Logging())
    log_reviews(analyses)
    assert written() == ""


@pytest.mark.parametrize("sent", ["a", "3f2a-77", "~" * 64, "!/?=#"])
def test_a_request_id_is_kept(sent: str) -> None:
    assert usable_request_id(sent) == sent


@pytest.mark.parametrize("sent", ["", "a b", "a\n", "~" * 65, "가", "\x7f"])
def test_a_request_id_that_is_not_usable_is_replaced(sent: str) -> None:
    assert usable_request_id(sent) != sent
    assert len(usable_request_id(sent)) == 32
