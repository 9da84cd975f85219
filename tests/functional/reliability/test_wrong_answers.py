"""Triton answers NaN, or for another number of labels: errors with a type, and the server goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from client.artifact import Artifact
from client.encoding import Encoder
from server.embedded import EmbeddedTriton
from tests.functional import tiny_repository as tiny
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import OFF, analyze, request_of
from tests.functional.reliability.conftest import StartDoor
from tests.functional.reliability.spoiled_repository import with_hashes_of, with_nan
from tests.functional.reviews import REVIEWS

UNAVAILABLE, FAILED_PRECONDITION = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION
POISONOUS, SOUND = REVIEWS[1], REVIEWS[0]


def own_token(text: str, others: list[str], artifact: Artifact) -> int:
    """A token of a text that none of the others has."""
    encoder = Encoder(artifact)
    elsewhere = {token for other in others for token in encoder.encode(other).input_ids}
    return next(token for token in encoder.encode(text).input_ids if token not in elsewhere)


def test_a_review_that_the_model_cannot_answer_fails_alone(
    start_door: StartDoor, tiny_repository: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    """Its rows share batches with other reviews, of other callers too."""
    others = [review for review in REVIEWS if review != POISONOUS]
    token = own_token(POISONOUS, others, tiny_artifact)
    repository = with_nan(tiny_repository, tmp_path / "nan", token)
    with EmbeddedTriton(repository, threads=1) as triton:
        door = start_door({"triton-url": triton.grpc_url}, repository)
        for options in (OFF, None):
            response = door.stub.Analyze(request_of(*REVIEWS, options=options), timeout=30)
            codes = {analysis.text: analysis.error.code for analysis in response.analyses}
            assert codes == dict.fromkeys(REVIEWS, "") | {POISONOUS: "INTERNAL"}
            (broken,) = [analysis for analysis in response.analyses if analysis.HasField("error")]
            assert "outside [0, 1]" in broken.error.message
        assert door.serving()


def test_a_model_that_answers_nothing_but_nan_is_not_ready(
    start_door: StartDoor, tiny_repository: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    repository = with_nan(tiny_repository, tmp_path / "nan", Encoder(tiny_artifact).cls_id)
    with EmbeddedTriton(tiny_repository, threads=1) as sound:
        port = int(sound.grpc_url.split(":")[1])
        door = start_door({"triton-url": sound.grpc_url})
        assert analyze(door.stub, request_of(SOUND)).reviews == ("",)
    with EmbeddedTriton(repository, threads=1, grpc_port=port):
        wait_until(lambda: analyze(door.stub, request_of(SOUND)).reviews == ("INTERNAL",))
        wait_until(lambda: not door.serving())
    with EmbeddedTriton(tiny_repository, threads=1, grpc_port=port):
        wait_until(door.serving)
        assert analyze(door.stub, request_of(SOUND)).reviews == ("",)


def test_another_number_of_labels_is_an_error_and_not_an_answer(
    start_door: StartDoor, tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton is replaced, behind its address, by one that claims the same hashes and has a keyword less."""
    fewer = replace(tiny.LABELS, keywords=tiny.LABELS.keywords[:-1], thresholds=tiny.LABELS.thresholds[:-1])
    monkeypatch.setattr(tiny, "LABELS", fewer)
    impostor = with_hashes_of(tiny.write_repository(tmp_path / "fewer"), tiny_repository)
    with EmbeddedTriton(tiny_repository, threads=1) as sound:
        port = int(sound.grpc_url.split(":")[1])
        door = start_door({"triton-url": sound.grpc_url})
    with EmbeddedTriton(impostor, threads=1, grpc_port=port):
        wait_until(lambda: analyze(door.stub, request_of(SOUND)).code is not UNAVAILABLE)
        outcome = analyze(door.stub, request_of(*REVIEWS))
        assert outcome.code is FAILED_PRECONDITION or set(outcome.reviews) == {"INTERNAL"}  # after a probe, or before
        wait_until(lambda: not door.serving())
    with EmbeddedTriton(tiny_repository, threads=1, grpc_port=port):
        wait_until(door.serving)
        assert analyze(door.stub, request_of(SOUND)).reviews == ("",)


def test_other_labels_of_the_same_number_are_noticed(
    start_door: StartDoor, tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton is replaced, behind its address, by one whose version 1 means something else; every shape is the same."""
    renamed = replace(tiny.LABELS, keywords=tiny.LABELS.keywords[::-1])
    monkeypatch.setattr(tiny, "LABELS", renamed)
    other = tiny.write_repository(tmp_path / "other")
    with EmbeddedTriton(tiny_repository, threads=1) as sound:
        port = int(sound.grpc_url.split(":")[1])
        door = start_door({"triton-url": sound.grpc_url})
    with EmbeddedTriton(other, threads=1, grpc_port=port):
        wait_until(lambda: analyze(door.stub, request_of(SOUND)).code is FAILED_PRECONDITION)
        assert "sha256 is" in analyze(door.stub, request_of(SOUND)).details
        wait_until(lambda: not door.serving())
        time.sleep(2)  # four probes
        assert sum("sha256 is" in line["message"] for line in door.log("warning")) == 1
    with EmbeddedTriton(tiny_repository, threads=1, grpc_port=port):
        wait_until(door.serving)
        assert analyze(door.stub, request_of(SOUND)).reviews == ("",)
