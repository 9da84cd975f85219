"""Which versions answer calls, and which of them answers this one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.errors import InvalidInputError, ServerUnavailableError
from client.row_batcher import BatchObserver, QueueSnapshot
from server.front_door.deployment import Deployment
from server.front_door.requests import served_model
from server.front_door.rollout.plan import Plan, Source, read_plan
from server.front_door.rollout.traffic import is_chosen
from server.front_door.settings import Settings


def wanted_plan(settings: Settings) -> Plan:
    """What is to be served now, versions as numbers: what ``rollout.file`` says, or ``model_repository`` alone.

    Raises:
        InvalidInputError: the file cannot be used.
        ArtifactError: a repository has no version, or pins one that is not there.
    """
    if settings.rollout.file:
        try:
            return read_plan(Path(settings.rollout.file)).pinned()
        except InvalidInputError as error:
            raise InvalidInputError(f"rollout.file: {error}") from None
    champion = Source(triton_url=settings.triton_url, model_repository=settings.model_repository)
    return Plan(champion=champion).pinned()


@dataclass(frozen=True)
class Route:
    """What is served: calls go to the champion but for the challenger's ``share`` of them (0 to 1).

    In the mode "shadow" the champion answers those, too, and the challenger is only compared.

    Raises:
        InvalidInputError: both have the same model version, so that nobody could tell their answers apart.
    """

    champion: Deployment
    challenger: Deployment | None = None
    mode: Literal["split", "shadow"] = "split"
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.challenger is not None and self.challenger.model_version == self.champion.model_version:
            raise InvalidInputError(
                f"challenger: it is model version {self.champion.model_version} like the champion; export gives each "
                "its own"
            )

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Champion and challenger."""
        return (self.champion,) if self.challenger is None else (self.champion, self.challenger)

    def challenger_of(self, ticket: str, mode: Literal["split", "shadow"]) -> Deployment | None:
        """The challenger if a call with this ticket is for it to answer, or to shadow."""
        challenger = self.challenger
        if challenger is None or self.mode != mode or challenger.problem is not None:
            return None
        return challenger if is_chosen(ticket, challenger.model_version, self.share) else None

    def __str__(self) -> str:
        if self.challenger is None:
            return self.champion.model_version
        return f"{self.champion.model_version}, and {self.challenger.model_version} for {self.mode} {self.share:.2%}"


class Models:
    """The versions that are served. A call keeps the one that it started with, so a reply never mixes versions."""

    def __init__(self, settings: Settings, observer: BatchObserver) -> None:
        """``observer`` is told of every batch. Nothing runs yet; of a rollout's versions only the champion is there.

        Raises:
            InvalidInputError, ArtifactError: see ``wanted_plan`` and ``Deployment``.
        """
        self.route = Route(Deployment(wanted_plan(settings).champion, settings, observer))
        self._retiring: dict[Deployment, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Start the champion's Triton if it is ours.

        Raises:
            EmbeddedTritonError: it does not start.
        """
        await self.route.champion.triton.url()

    async def connect(self) -> None:
        """Connect with the champion, and start its Triton again if it is ours and has ended; see ``Deployment``."""
        await self.route.champion.connect()

    async def ended(self, within_s: float) -> bool:
        """Wait for the end of the champion's Triton for at most ``within_s`` seconds; whether it has ended.

        One that ends because another version has become the champion does not count.
        """
        champion = self.route.champion
        return await champion.triton.ended(within_s) and champion is self.route.champion

    def switch(self, route: Route) -> None:
        """Send new calls along another route. What is not on it any more is closed after its last call."""
        former, self.route = self.route, route
        for deployment in former.deployments:
            if deployment not in route.deployments:
                self._retiring[deployment] = asyncio.create_task(self._retire(deployment))

    async def _retire(self, deployment: Deployment) -> None:
        await deployment.retire()
        del self._retiring[deployment]

    async def probe(self, deadline_s: float) -> None:
        """A real inference with both models of the champion; raises the ReviewLensError that it fails with."""
        await self.route.champion.probe(deadline_s)

    def check_ready(self) -> None:
        """Raise ServerUnavailableError unless there is an analyzer for a call."""
        if not self.route.champion.url:
            raise ServerUnavailableError("no model is ready yet; try again")

    def served(self) -> list[pb.ServedModel]:
        """The versions that answer calls, the one with the largest share first, with what GetInfo says about them.

        Raises:
            ServerUnavailableError: no model has been reached yet.
        """
        self.check_ready()
        route = self.route
        shares = {route.champion: 1.0}
        if route.challenger is not None and route.mode == "split":
            share = route.share if route.challenger.problem is None else 0.0
            shares = {route.champion: 1 - share, route.challenger: share}
        by_share = sorted(shares, key=lambda deployment: -shares[deployment])
        return [served_model(d.artifact, d.model_version, shares[d]) for d in by_share]

    def snapshot(self) -> QueueSnapshot:
        """What callers wait for now, at all Tritons together."""
        route = self.route
        answering = route.deployments if route.mode == "split" else (route.champion,)
        snapshots = [deployment.snapshot() for deployment in answering]
        return QueueSnapshot(
            queued_rows=sum(snapshot.queued_rows for snapshot in snapshots),
            queued_tokens=sum(snapshot.queued_tokens for snapshot in snapshots),
            in_flight_batches=sum(snapshot.in_flight_batches for snapshot in snapshots),
            tokens_per_second=sum(snapshot.tokens_per_second for snapshot in snapshots),
            admitted_tokens=sum(snapshot.admitted_tokens for snapshot in snapshots),
        )

    async def close(self) -> None:
        """Close everything at once."""
        retiring = dict(self._retiring)
        await asyncio.gather(*(deployment.close() for deployment in (*self.route.deployments, *retiring)))
        await asyncio.gather(*retiring.values())
