"""Which calls go to the challenger: a share of them, and always the same ones of a caller that brings a key."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

# Calls with the same value in this metadata are answered by the same version as long as the share stays.
ROLLOUT_KEY = "x-rollout-key"


def ticket_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """What a call's version is chosen by: its ``x-rollout-key``, or else chance."""
    return next((str(value) for name, value in metadata if name == ROLLOUT_KEY), "") or secrets.token_hex(8)


def is_chosen(ticket: str, challenger: str, share: float) -> bool:
    """Whether a ticket is among the ``share`` (0 to 1) of all tickets that the challenger gets.

    A larger share keeps the tickets of a smaller one. Every challenger (its model version) gets other ones, so that not
    the same users meet every experiment.
    """
    digest = hashlib.sha256(f"{challenger}\0{ticket}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share
