"""The front door's settings: what can be set, within which bounds, and what it is when nobody sets it.

``configuration.py`` reads them from a file, the environment and flags; docs/configuration.md is made from this model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from client.encoding import MAX_CHARACTERS
from client.options import HighlightMode


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT"; an IPv6 host stands in brackets, which stay.

    Raises:
        ValueError: the text is no such address.
    """
    match = re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", address)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, as in 0.0.0.0:8500 or [::]:8500; port 0 takes a free one")
    return match[1], int(match[2])


def _address(value: str) -> str:
    split_address(value)
    return value


def _address_or_nothing(value: str) -> str:
    return _address(value) if value else value


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_address_or_nothing)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
# gRPC is given twice as much, and has 32 bits for it.
CountToDouble = Annotated[int, Field(gt=0, le=2**30 - 1)]


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Section):
    """What callers may ask for. More is refused, never cut."""

    max_message_bytes: CountToDouble = Field(default=4 * 1024 * 1024, description="bytes of a request message")
    max_reviews: Count = Field(default=256, description="reviews of an Analyze call")
    max_stream_reviews: Count = Field(
        default=256, description="reviews of a stream under way at once; reading pauses at so many, and nothing fails"
    )
    max_characters: Count = Field(
        default=MAX_CHARACTERS, description="code points of a review; a longer one gets an error"
    )
    max_highlights_per_keyword: Count = Field(
        default=20, description="words to highlight for each keyword, at most, that a call may ask for"
    )
    max_queued_tokens: Count = Field(
        default=8_000_000, description="tokens that all calls under way may need; calls beyond are refused"
    )
    max_calls_per_client: CountToDouble = Field(
        default=64, description="calls that one client may have under way, streams included"
    )
    max_deadline_s: Seconds = Field(
        default=120.0, description="seconds a call may take, whatever deadline its caller sets"
    )
    default_deadline_s: Seconds = Field(default=30.0, description="seconds for a call without a deadline")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_deadline_s > self.max_deadline_s:
            raise ValueError(
                f"default_deadline_s: {self.default_deadline_s:g} is more than max_deadline_s, {self.max_deadline_s:g}"
            )
        return self


class Connections(Section):
    """How long connections last. None is closed while it has a call; an old one takes no new calls."""

    max_age_s: Seconds = Field(
        default=1800.0, description="seconds after which clients connect anew, and so find front doors that were added"
    )
    max_idle_s: Seconds = Field(default=900.0, description="seconds without a call after which a connection is closed")


class Batching(Section):
    """How rows of all callers are sent to Triton."""

    token_budget: Count = Field(default=4096, description="tokens of a batch, padding counted")
    max_rows: Count = Field(default=256, description="rows of a batch")
    concurrency: Count = Field(default=4, description="batches in flight")
    request_timeout_s: Seconds = Field(default=30.0, description="seconds for a batch, retries included")


class Analysis(Section):
    """What an analysis finds when its caller does not say."""

    highlight: HighlightMode = Field(default="exact", description="mask every word, groups of words first, or none")
    highlights_per_keyword: Count = Field(default=1, description="words to highlight for each keyword, at most")


class Cache(Section):
    """Results kept by model version, text and options."""

    entries: int = Field(default=0, ge=0, description="results kept, the latest used; 0 keeps none")


class Tls(Section):
    """Encryption of `listen`. Without a certificate the server speaks plain text."""

    certificate_file: Path | None = Field(default=None, description="PEM file of the server's certificate chain")
    key_file: Path | None = Field(default=None, description="PEM file of its private key")
    client_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities of client certificates; with it every client must show one",
    )
    allow_plaintext: bool = Field(
        default=False, description="serve other machines without TLS, where something else encrypts, as a service mesh"
    )
    reload_s: Seconds = Field(
        default=60.0, description="seconds between looks at the files; new ones serve new connections"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together: set both, or neither")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file: client certificates need TLS; set certificate_file and key_file")
        return self


class Auth(Section):
    """Who may call. With tokens, every call needs one of them as `authorization: Bearer …`."""

    tokens_file: Path | None = Field(default=None, description="file of lines `NAME sha256:HEX`, a client each")
    tokens: SecretStr = Field(
        default=SecretStr(""),
        description="the same lines from the environment, in place of the file; not to be had as a flag",
    )


class Metrics(Section):
    """Prometheus metrics over HTTP."""

    listen: OptionalAddress = Field(default="127.0.0.1:9500", description="HOST:PORT of /metrics; empty for none")


class Tracing(Section):
    """OpenTelemetry traces."""

    otlp_endpoint: str = Field(default="", description="OTLP gRPC collector, as http://collector:4317; empty for none")
    triton_otlp_url: str = Field(
        default="",
        description="where the embedded Triton sends its spans: OTLP over HTTP, as http://host:4318/v1/traces",
    )
    sample_ratio: float = Field(default=0.05, ge=0, le=1, description="share of traces that start here to record")


class Logging(Section):
    """Log lines on standard error."""

    format: Literal["json", "text"] = Field(default="json", description="form of a line")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is written"
    )
    log_review_text: bool = Field(default=False, description="let review texts into the log; off for good reason")


class Health(Section):
    """When the server calls itself ready: the last inference with both models must have worked."""

    probe_every_s: Seconds = Field(default=5.0, description="seconds between two such inferences")
    probe_timeout_s: Seconds = Field(default=10.0, description="seconds that one may take")


class Rollout(Section):
    """A second model version beside the first."""

    file: str = Field(
        default="",
        description="TOML file of the versions to serve, docs/rollout.md; empty for `model_repository` alone",
    )
    check_every_s: Seconds = Field(
        default=2.0, description="seconds between looks at that file and at the version that repositories pin"
    )
    report_file: str = Field(
        default="", description="JSON file for the comparison of shadow traffic; goes on where it stopped"
    )
    report_every_s: Seconds = Field(default=30.0, description="seconds between two writes of it")
    report_examples: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="latest reviews with differences to keep in it, texts included; 0 for none",
    )


class Settings(Section):
    """All settings. Made directly they are checked and nothing else is read."""

    listen: Address = Field(default="127.0.0.1:8500", description="HOST:PORT of the gRPC service")
    triton_url: OptionalAddress = Field(
        default="", description="HOST:PORT of Triton's gRPC; empty starts the embedded Triton"
    )
    model_repository: Path = Field(
        default=Path("model_repository"), description="folder of the models that Triton serves"
    )
    embedded_threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="threads of the embedded Triton for each model; 0: as many as the host has cores"
    )
    drain_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=30.0, description="seconds that accepted calls have after SIGTERM"
    )
    reflection: bool = Field(default=True, description="let clients list the services")
    limits: Limits = Limits()
    connections: Connections = Connections()
    batching: Batching = Batching()
    analysis: Analysis = Analysis()
    cache: Cache = Cache()
    tls: Tls = Tls()
    auth: Auth = Auth()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    logging: Logging = Logging()
    health: Health = Health()
    rollout: Rollout = Rollout()
