"""Every error that ReviewLens raises on purpose. Each message names what, where and the way out."""

from __future__ import annotations

MOST_QUOTED = 64


def quoted(value: str) -> str:
    """A caller's value as messages show it: in quotes, and its beginning only where it is long.

    A call's message travels in metadata, of which clients take 8 KiB; over that they report an error of their own.
    """
    return repr(value if len(value) <= MOST_QUOTED else f"{value[:MOST_QUOTED]}…")


class ReviewLensError(Exception):
    """Base of all errors; ``code`` is the gRPC status name that a service would answer with."""

    code = "INTERNAL"


class InvalidReviewError(ReviewLensError):
    """A review that cannot be analyzed (empty, NUL, over the size limit). Only this review is affected."""

    code = "INVALID_ARGUMENT"


class InvalidInputError(ReviewLensError):
    """An input file, option or row that cannot be read. Names the file, line and field."""

    code = "INVALID_ARGUMENT"


class ArtifactError(ReviewLensError):
    """A model artifact (``labels.json``, ``tokenizer.json``) that is missing, malformed or inconsistent."""

    code = "FAILED_PRECONDITION"


class ModelMismatchError(ReviewLensError):
    """The server's model was built with another tokenizer or label set than the client has."""

    code = "FAILED_PRECONDITION"


class ServerUnavailableError(ReviewLensError):
    """No Triton answers at the address, or it went away."""

    code = "UNAVAILABLE"


class DeadlineExceededError(ReviewLensError):
    """The deadline passed before the answer came."""

    code = "DEADLINE_EXCEEDED"


class OverloadedError(ReviewLensError):
    """Too much is waiting already; ``retry_after_s`` is when there should be room, in seconds from now."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InferenceError(ReviewLensError):
    """Triton answered with an error, or with tensors of the wrong name, shape or value."""

    code = "INTERNAL"


class EmbeddedTritonError(ReviewLensError):
    """The embedded Triton did not start; the message carries the model's own error."""

    code = "UNAVAILABLE"
