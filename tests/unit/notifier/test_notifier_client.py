import orjson

from services.notifier.decisions.frames import PONG
from services.notifier.model import Agent, Change, Claims, CloseCode, Entry, Position, Scope, Tags
from services.notifier.workflows.client import Client
from shared.contracts.views import Role

EPOCH = "0123456789abcdef"
MINE: Tags = frozenset({"agent:ana"})


class Sink:
    """A transport that takes frames while it is open."""

    def __init__(self) -> None:
        self.open = True
        self.written: list[tuple[str, str | None]] = []

    def bind(self, client: Client) -> None:
        pass

    def writable(self) -> bool:
        return self.open

    def write(self, frame: bytes, cursor: str | None) -> None:
        self.written.append((orjson.loads(frame)["type"], cursor))

    def close(self, why: CloseCode) -> None:
        pass


def client_of(sink: Sink) -> Client:
    agent = Agent("t", "ana", "Ana", Role.AGENT, (), 0.0)
    claims = Claims("t", "ana", 0.0, 1e12, "id", ticket=False)
    return Client(sink, agent, claims, Scope.MINE, socket="s", limit=1024 * 1024)


def entry(seq: int) -> Entry:
    return Entry(seq, EPOCH, MINE, MINE, b"{}")


def test_regression_each_frame_of_the_feed_has_its_place() -> None:
    sink = Sink()
    client = client_of(sink)
    client.welcome(Position(EPOCH, 5), resumed=True)
    client.flush()
    assert client.push(entry(6)) is Change.UPDATE
    client.tell(PONG)
    client.flush()
    client.resync(Position(EPOCH, 9))
    client.flush()
    assert sink.written == [
        ("welcome", client.cursor(5)),
        ("event", client.cursor(6)),
        ("pong", None),
        ("resync", client.cursor(9)),
    ]


def test_regression_a_resync_voids_events_and_no_answers() -> None:
    sink = Sink()
    client = client_of(sink)
    client.welcome(Position(EPOCH, 5), resumed=True)
    client.flush()
    sink.open = False
    client.push(entry(6))
    client.tell(PONG)
    client.push(entry(7))
    client.resync(Position(EPOCH, 9))
    sink.open = True
    client.flush()
    assert [kind for kind, _ in sink.written] == ["welcome", "pong", "resync"]
