"""Fair queueing of rows: who is next, however much others have asked for.

Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queueing: A Scheduling Algorithm for Integrated
Services Packet Switching Networks", SIGCOMM 1996): a row's start tag is the queue's virtual time, or the end of the
caller's row before it if that is later; the row with the lowest tag is next, and virtual time becomes its tag. A caller
with thousands of rows has tags far ahead, so the few rows of one that comes later are next. Costs are padded tokens.

Rows that share a batch are of one lane: a model and a padded length. The fairest row of all picks the lane, and the
fairest ones of that lane fill the batch up; the places would be empty otherwise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A row of the queue; ``waiting`` ends when it is taken, or when nobody wants it any more."""

    waiting: bool


RowT = TypeVar("RowT", bound=Waiting)


@dataclass(eq=False, slots=True)
class Flow:
    """A caller's share: ``finish`` is the virtual time at which the rows that it has queued so far end."""

    finish: float = 0.0


class Run(Generic[RowT]):
    """Rows that one caller queued together in one lane: row ``i`` has the tag ``start + i * cost``."""

    __slots__ = ("cost", "position", "rows", "start")

    def __init__(self, rows: Sequence[RowT], start: float, cost: float) -> None:
        self.rows = rows
        self.start = start
        self.cost = cost
        self.position = 0

    def next_tag(self) -> float | None:
        """The tag of the first row that still waits, None if there is none."""
        rows, position = self.rows, self.position
        while position < len(rows) and not rows[position].waiting:
            position += 1
        self.position = position
        return self.start + position * self.cost if position < len(rows) else None

    def leave(self) -> None:
        """Take the caller's claim out of the queue. Other runs may hold the same rows."""
        self.rows = ()


class Lane(Generic[RowT]):
    """The waiting rows of one kind: ``rows`` of them. A batch takes at most ``most``; each costs ``cost``."""

    def __init__(self, most: int, cost: float) -> None:
        self.most = most
        self.cost = cost
        self.rows = 0
        self._runs: list[tuple[float, int, Run[RowT]]] = []
        self._numbers = itertools.count()

    def add(self, run: Run[RowT]) -> None:
        """Queue a run; whoever adds rows to the lane counts them in ``rows``."""
        heappush(self._runs, (run.start, next(self._numbers), run))

    def first_tag(self) -> float:
        """The lowest tag of a waiting row; infinite if none waits."""
        while self._runs:
            tag, number, run = self._runs[0]
            current = run.next_tag()
            if current == tag:
                return tag
            if current is None:
                heappop(self._runs)
            else:
                heapreplace(self._runs, (current, number, run))
        return math.inf

    def take(self) -> list[RowT]:
        """The fairest rows, as many as a batch takes.

        What waits is cut into equal batches instead of full ones and a rest: servers that work side by side finish
        together.
        """
        batches = -(-self.rows // self.most)
        count = -(-self.rows // batches)
        taken: list[RowT] = []
        while len(taken) < count:
            self.first_tag()
            _, number, run = self._runs[0]
            limit = min((tag for tag, _, _ in self._runs[1:3]), default=math.inf)
            tag = run.next_tag()
            # Row by row while it is this run's turn: most often that is the whole batch.
            while tag is not None and tag <= limit and len(taken) < count:
                row = run.rows[run.position]
                row.waiting = False
                taken.append(row)
                tag = run.next_tag()
            if tag is None:
                heappop(self._runs)
            else:
                heapreplace(self._runs, (tag, number, run))
        self.rows -= count
        return taken


class FairQueue(Generic[RowT]):
    """Lanes and the virtual time that they share."""

    def __init__(self, lanes: Iterable[Lane[RowT]]) -> None:
        self._lanes = tuple(lanes)
        self._now = 0.0
        self._served = 0.0

    def push(self, flow: Flow, lane: Lane[RowT], new: int, rows: Sequence[RowT]) -> Run[RowT]:
        """Queue rows of one caller, ``new`` of which no other caller has queued already."""
        if not any(lane.rows for lane in self._lanes):
            self._now = max(self._now, self._served)  # nobody carries a debt from one busy period to the next
        start = max(self._now, flow.finish)
        flow.finish = start + len(rows) * lane.cost
        run = Run(rows, start, lane.cost)
        lane.add(run)
        lane.rows += new
        return run

    def take(self) -> list[RowT]:
        """The rows of the next batch, all of one lane; none if nothing waits."""
        waiting = [lane for lane in self._lanes if lane.rows]
        if not waiting:
            return []
        lane = min(waiting, key=Lane.first_tag)
        self._now = max(self._now, lane.first_tag())
        rows = lane.take()
        self._served = max(self._served, self._now + lane.cost * len(rows))
        return rows

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(lane.rows for lane in self._lanes)
