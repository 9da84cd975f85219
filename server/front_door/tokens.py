"""Bearer tokens: which clients may call. Only hashes are kept, so that a leak of the file is no leak of the tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from client.errors import InvalidInputError
from server.front_door.settings import Auth

LOGGER = logging.getLogger(__name__)
# Load balancers and orchestrators ask for health without credentials; it says nothing about reviews.
OPEN_TO_ALL = "/grpc.health.v1.Health/"
LOOK_EVERY_S = 1.0
NAME = r"[A-Za-z0-9._-]{1,64}"
WAY_OUT = "make one with `python -m server.front_door.security new-token NAME`"

# Name of the token of the call under way, "" without one. A call's interceptors and handler share one context.
current_token_name: ContextVar[str] = ContextVar("current_token_name", default="")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True)
class Token:
    """A client's token: SHA-256 of what it sends. A client may have several of its name, while one replaces another."""

    name: str
    digest: bytes = field(repr=False)


def new_token(name: str) -> tuple[str, str]:
    """A new random token of 256 bits, and the line for the file of tokens.

    Raises:
        InvalidInputError: the name has characters that a line cannot have.
    """
    if not re.fullmatch(NAME, name):
        raise InvalidInputError(f"NAME: {name!r} is not made of 1 to 64 letters, digits and ._-")
    token = f"rl_{secrets.token_urlsafe(32)}"  # the prefix lets scanners of leaked secrets recognize it
    return token, f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def parse_tokens(text: str, source: str) -> tuple[Token, ...]:
    """Tokens of lines ``NAME sha256:HEX``; a comma ends a line too, ``#`` begins a comment.

    Raises:
        InvalidInputError: names ``source`` and the line, never what stands in it: it may be a token.
    """
    tokens: list[Token] = []
    for number, line in enumerate(re.split(r"[\n,]", text), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = re.fullmatch(rf"({NAME})\s+sha256:([0-9a-fA-F]{{64}})", content)
        if match is None:
            raise InvalidInputError(
                f"{source}: line {number}: not `NAME sha256:HEX` with a NAME of at most 64 letters, digits and ._-; "
                f"{WAY_OUT}"
            )
        token = Token(match[1], bytes.fromhex(match[2]))
        if any(token.digest == other.digest for other in tokens):
            raise InvalidInputError(f"{source}: line {number}: {token.name}: the same token again; {WAY_OUT}")
        tokens.append(token)
    if not tokens:
        raise InvalidInputError(f"{source}: no tokens, so nobody could call; {WAY_OUT}")
    return tuple(tokens)


def name_of(sent: str, tokens: tuple[Token, ...]) -> str | None:
    """The name of a token that a client sent; None when it is none of ``tokens``."""
    digest = hashlib.sha256(sent.encode()).digest()
    # All are compared, each in constant time: the time says nothing about how near a guess came, or to which.
    names = [token.name for token in tokens if hmac.compare_digest(token.digest, digest)]
    return names[0] if names else None


class TokenFile:
    """The tokens of a file, read again when it changes; a file that cannot be used is logged, the last tokens stay."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            InvalidInputError: it cannot be read, or has a line that is wrong.
        """
        self._file = file
        self._next_look = time.monotonic() + LOOK_EVERY_S
        self._seen = self._state()  # before it is read: a change in between is then seen
        self._tokens = self._read()
        self._problem = ""

    def tokens(self) -> tuple[Token, ...]:
        """The tokens that are good now."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            state = self._state()
            if state != self._seen:
                self._read_again(state)
        return self._tokens

    def _read_again(self, state: tuple[int, ...]) -> None:
        """Read the file, which is in ``state``; one that cannot be used is tried at every look, and logged once."""
        try:
            self._tokens = self._read()
        except InvalidInputError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                LOGGER.error("the tokens were not read again, the last ones stay good: %s", error)
            return
        # Only now: what kept it from being read, as its permissions, may change while its state does not.
        self._seen, self._problem = state, ""
        LOGGER.info("%d tokens read from %s", len(self._tokens), self._file)

    def _state(self) -> tuple[int, ...]:
        """Differs when the file does; follows links, as Kubernetes swaps a link when a secret changes."""
        try:
            status = self._file.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> tuple[Token, ...]:
        try:
            text = self._file.read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"auth.tokens_file {self._file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidInputError(f"auth.tokens_file {self._file}: not UTF-8 text; {WAY_OUT}") from None
        return parse_tokens(text, f"auth.tokens_file {self._file}")


class TokenAuthenticator(grpc.aio.ServerInterceptor):
    """Lets calls through that carry a good token as ``authorization: Bearer TOKEN``; health checks need none."""

    def __init__(self, tokens: Callable[[], tuple[Token, ...]]) -> None:
        """``tokens`` gives the tokens that are good now; asked for each call."""
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Refuse the call with UNAUTHENTICATED, or go on with the token's name in ``current_token_name``."""
        if handler_call_details.method.startswith(OPEN_TO_ALL):
            return await continuation(handler_call_details)
        sent = [value for key, value in handler_call_details.invocation_metadata or () if key == "authorization"]
        scheme, _, token = str(sent[0]).partition(" ") if len(sent) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            return _refusal("no bearer token: send one as metadata `authorization: Bearer TOKEN`")
        name = name_of(token.strip(), self._tokens())
        if name is None:
            return _refusal("authorization: not a token of this server; ask its operator for one")
        current_token_name.set(name)
        return await continuation(handler_call_details)


def token_authenticator(auth: Auth) -> TokenAuthenticator | None:
    """The interceptor that the settings ask for; None when no tokens are set.

    Raises:
        InvalidInputError: tokens that cannot be read, or both a file and tokens of the environment.
    """
    lines = auth.tokens.get_secret_value()
    if lines and auth.tokens_file is not None:
        raise InvalidInputError("auth.tokens and auth.tokens_file: both are set; keep one of them")
    if auth.tokens_file is not None:
        return TokenAuthenticator(TokenFile(auth.tokens_file).tokens)
    if lines:
        tokens = parse_tokens(lines, "auth.tokens")
        return TokenAuthenticator(lambda: tokens)
    return None


def _refusal(message: str) -> Handler:
    """A handler that fails any call, of whatever type, before it reads a message."""

    async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

    return grpc.stream_stream_rpc_method_handler(refuse)
