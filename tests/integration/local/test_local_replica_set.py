from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from pymongo import WriteConcern

from deploy.local import replica_set
from deploy.local.replica_set import ReplicaSet

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    started = replica_set.start(tmp_path_factory.mktemp("replica-set"))
    yield started
    started.stop()


def insert(nodes: ReplicaSet, number: int) -> None:
    with pymongo.MongoClient(nodes.url) as client:
        kept = client["kept"].get_collection("kept", write_concern=WriteConcern("majority"))
        kept.insert_one({"_id": number})


def numbers(nodes: ReplicaSet) -> set[int]:
    with pymongo.MongoClient(nodes.url) as client:
        return {document["_id"] for document in client["kept"]["kept"].find()}


def test_a_step_down_elects_another_primary(nodes: ReplicaSet):
    before = nodes.primary()
    assert nodes.step_down() != before


def test_majority_writes_survive_the_death_of_the_primary(nodes: ReplicaSet):
    insert(nodes, 1)
    killed = nodes.kill_primary()
    assert nodes.primary() != killed
    insert(nodes, 2)
    nodes.restart(killed)
    assert numbers(nodes) >= {1, 2}


def test_start_again_takes_the_running_nodes(nodes: ReplicaSet, tmp_path: Path):
    again = replica_set.start(nodes.home.path)
    assert again.ports == nodes.ports
