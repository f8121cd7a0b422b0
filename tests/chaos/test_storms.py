"""Processes die, the memory forgets and messages come twice, under load, and every request ends once and right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from anygpt import topology
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.faults import MEMORY_EMPTIED, killed
from tests.chaos.meddler import EVERYTHING_REPEATED
from tests.chaos.storm import Fault, Load, Row, Weather
from tests.chaos.vitals import at_rest, unnamed_objects
from tests.flow.pack import build_pack

SERVICES = (topology.GATEWAY, "llm", "image_encoder", "speech_decoder")
STORMS = (killed(topology.GATEWAY, "llm", phase="generating"), MEMORY_EMPTIED, EVERYTHING_REPEATED)
LOAD = Load(requests=24, rate=3.0)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two replicas of a gateway, a generator, an encoder and a decoder, on servers of their own."""
    pack = build_pack(tmp_path_factory.mktemp("packs") / "plain")
    with Cluster(Shape(str(pack), SERVICES)) as made:
        yield made


@pytest.fixture(scope="module")
def weather(cluster: Cluster) -> Weather:
    """Storms on that cluster, the undisturbed answers known."""
    made = Weather(cluster, LOAD)
    asyncio.run(made.learn())
    return made


@pytest.mark.parametrize("fault", STORMS, ids=lambda fault: fault.name)
async def test_every_request_ends_once_with_the_undisturbed_answer(
    cluster: Cluster, weather: Weather, fault: Fault
) -> None:
    row = await weather.storm(fault)
    assert _harm(row) == {}
    assert len(row.traces) >= LOAD.requests
    assert await unnamed_objects(cluster, row.traces) == []
    assert (await at_rest(cluster)).lag == 0


def _harm(row: Row) -> dict[str, object]:
    """What a storm must not do."""
    done = {"lost": row.lost, "broken": row.breaches, "wrong": row.wrong, "failed": row.failures}
    return {name: what for name, what in done.items() if what}
