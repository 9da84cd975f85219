"""The steps of a rollout, each from one plan to the next."""

from __future__ import annotations

from typing import Any, Literal

from client.errors import InvalidInputError
from server.front_door.rollout.plan import Challenger, Plan, Source, checked_plan

Mode = Literal["split", "shadow"]


def start(plan: Plan, source: Source, mode: Mode, share: float) -> Plan:
    """Put a challenger beside the champion.

    Raises:
        InvalidInputError: there is one already, it is the champion, or the share is out of range.
    """
    if plan.challenger is not None:
        raise InvalidInputError(f"challenger: there is one, {plan.challenger}; promote it or roll it back first")
    if source.pinned() == plan.champion.pinned():
        raise InvalidInputError(f"challenger: {source} is the champion; name another Triton, repository or version")
    if source.artifact().labels.model_version == plan.champion.artifact().labels.model_version:
        raise InvalidInputError(f"challenger: {source} has the champion's model version; export gives each its own")
    return _changed(plan, challenger={**source.model_dump(), "mode": mode, "share": share})


def change(plan: Plan, share: float, mode: Mode | None) -> Plan:
    """Give the challenger another share and, unless ``mode`` is None, another mode.

    Raises:
        InvalidInputError: there is no challenger, or the share is out of range.
    """
    before = _challenger(plan)
    return _changed(plan, challenger={**before.model_dump(), "share": share, "mode": mode or before.mode})


def promote(plan: Plan) -> Plan:
    """Make the challenger the champion; the champion is kept as ``former``.

    Raises:
        InvalidInputError: there is no challenger.
    """
    return Plan(champion=_challenger(plan).source(), former=plan.champion)


def rollback(plan: Plan) -> Plan:
    """Take the challenger away or, where there is none, serve the former champion again.

    Raises:
        InvalidInputError: there is nothing to go back to.
    """
    if plan.challenger is not None:
        return _changed(plan, challenger=None)
    if plan.former is None:
        raise InvalidInputError("rollback: there is no challenger, and no champion before this one")
    return Plan(champion=plan.former, former=plan.champion)


def _changed(plan: Plan, **values: Any) -> Plan:
    return checked_plan(plan.model_dump() | values)


def _challenger(plan: Plan) -> Challenger:
    if plan.challenger is None:
        raise InvalidInputError("challenger: there is none; `start` puts one beside the champion")
    return plan.challenger
