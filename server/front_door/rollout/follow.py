"""Carries out what is to be served: notices changes, gets versions ready, and switches to them."""

from __future__ import annotations

import asyncio
import logging

from client.errors import EmbeddedTritonError, ReviewLensError
from client.row_batcher import BatchObserver
from server.front_door.deployment import Deployment
from server.front_door.metrics import Metrics
from server.front_door.models import Models, Route, wanted_plan
from server.front_door.rollout.plan import Plan, Source
from server.front_door.settings import Settings
from server.front_door.status import unexpected

# An embedded Triton that does not start is tried again ever later: loading models takes all cores. Asking one that
# somebody else runs costs nothing.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

_log = logging.getLogger(__name__)


class RolloutFollower:
    """Compares again and again what is served with what is to be, which the rollout file and the repositories say.

    A change is carried out as a whole or not at all: every version that is new to its place must first have answered
    an inference with both models. ``problem`` is why the last change was not; what was served before goes on.
    """

    def __init__(self, models: Models, settings: Settings, metrics: Metrics) -> None:
        """``metrics`` are told of batches and changes."""
        self.problem: ReviewLensError | None = None
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._observer: BatchObserver = metrics
        self._look = asyncio.Event()
        self._failed: Plan | None = None
        self._pause_s = 0.0
        self._retry_at = 0.0

    def reload(self) -> None:
        """Look now, and try again what has failed."""
        self._failed = None
        self._look.set()

    async def watch(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.follow()
            await self._keep_challenger()
            await self._pause()

    async def follow(self) -> None:
        """Carry out what is to be served unless that is done, or has failed just now."""
        clock = asyncio.get_running_loop().time
        plan: Plan | None = None
        try:
            plan = await asyncio.to_thread(wanted_plan, self._settings)
            if plan == self._failed and clock() < self._retry_at:
                return
            if not _is_carried_out(plan, self._models.route):
                await self._carry_out(plan)
        except Exception as error:  # noqa: BLE001  (whatever it is, what is served goes on)
            known = error if isinstance(error, ReviewLensError) else unexpected(error)
            if _first_line(known) != _first_line(self.problem):
                _log.error("still serving %s: the change failed: %s: %s", self._models.route, known.code, known)
            self.problem = known
            again = plan == self._failed and _starts_triton(plan)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) if again else FIRST_PAUSE_S
            self._failed, self._retry_at = plan, clock() + self._pause_s
        else:
            self.problem = self._failed = None

    async def _pause(self) -> None:
        """Wait until it is time for the next look, or there is a reason for it before."""
        seconds = self._settings.rollout.check_every_s
        reasons: list[asyncio.Task[bool]] = [asyncio.create_task(self._look.wait())]
        if (challenger := self._models.route.challenger) is not None:
            reasons.append(asyncio.create_task(challenger.triton.ended(seconds)))
        try:
            await asyncio.wait(reasons, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for reason in reasons:
                reason.cancel()
        self._look.clear()

    async def _carry_out(self, plan: Plan) -> None:
        route = self._models.route
        there = {deployment.source: deployment for deployment in route.deployments}
        opened: list[Deployment] = []
        try:
            champion = await self._ready(plan.champion, there, opened, route.champion)
            if plan.challenger is None:
                wanted = Route(champion)
            else:
                challenger = await self._ready(plan.challenger.source(), there, opened, route.challenger)
                wanted = Route(champion, challenger, plan.challenger.mode, plan.challenger.share)
        except BaseException:
            await asyncio.gather(*(deployment.close() for deployment in opened))
            raise
        self._models.switch(wanted)
        self._metrics.rollout_switched()
        _log.info("serving %s; it was %s", wanted, route)

    async def _ready(
        self, source: Source, there: dict[Source, Deployment], opened: list[Deployment], place: Deployment | None
    ) -> Deployment:
        """The version of ``source``; one that is new in its ``place`` has answered an inference."""
        deployment = there.get(source)
        if deployment is not None and deployment is place:
            return deployment
        if deployment is None:
            deployment = await asyncio.to_thread(Deployment, source, self._settings, self._observer)
            opened.append(deployment)
        await deployment.connect()
        await deployment.probe(self._settings.health.probe_timeout_s)
        return deployment

    async def _keep_challenger(self) -> None:
        """Find out whether the challenger answers, and get it back if it does not."""
        challenger = self._models.route.challenger
        if challenger is None:
            return
        before = challenger.problem
        try:
            if await challenger.triton.ended(within_s=0):
                challenger.problem = EmbeddedTritonError("its Triton ended, and is being started again")
            await challenger.connect()
            await challenger.probe(self._settings.health.probe_timeout_s)
        except Exception as error:  # noqa: BLE001  (the next look must come)
            known = error if isinstance(error, ReviewLensError) else unexpected(error)
            challenger.problem = known
            if _first_line(before) != _first_line(known):
                _log.error("challenger %s gets no calls: %s: %s", challenger.model_version, known.code, known)
        else:
            if before is not None:
                _log.info("challenger %s answers again", challenger.model_version)


def _first_line(problem: ReviewLensError | None) -> str:
    """What a problem is; the log of a Triton may follow, which is never the same twice."""
    return str(problem).partition("\n")[0]


def _starts_triton(plan: Plan | None) -> bool:
    return plan is not None and not all(source.triton_url for _, source in plan if source is not None)


def _is_carried_out(plan: Plan, route: Route) -> bool:
    if plan.champion != route.champion.source:
        return False
    if plan.challenger is None or route.challenger is None:
        return plan.challenger is None and route.challenger is None
    wanted = plan.challenger.source(), plan.challenger.mode, plan.challenger.share
    return wanted == (route.challenger.source, route.mode, route.share)
