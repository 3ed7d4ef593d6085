import pytest

from services.ingest.storage import Apps, Directory
from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.observability.metrics import Metrics
from shared.sealing import Sealer
from tests.unit.ingest.entries import (
    MASTER_KEY,
    credentials_record,
    number_record,
    tenant_tombstone,
)


@pytest.fixture
def directory() -> Directory:
    return Directory(Metrics())


@pytest.fixture
def apps() -> Apps:
    return Apps(Sealer(MASTER_KEY))


def raw(key: bytes | None, value: bytes | None) -> InRecord:
    return InRecord("t", 0, 0, key, value, (), 0)


def test_directory_shows_the_numbers_that_there_are_and_no_others():
    metrics = Metrics()
    directory = Directory(metrics)
    for number in ("n1", "n2"):
        directory.apply(number_record(number, number))
    directory.apply(number_record("n1", "n1", version=2, gone=True))
    shown = [tuple(sample.labels.values()) for sample in metrics.number_seen.collect()[0].samples]
    assert shown == [("n2",)]


def test_directory_follows_a_number_through_its_life(directory: Directory):
    directory.apply(number_record("n1", "100", waba_id="W"))
    directory.apply(number_record("n1", "101", waba_id="V", app_id="a", version=2))

    found = directory.number("101")

    assert found is not None
    assert (found.id, found.tenant, found.app_id) == ("n1", "acme", "a")
    assert directory.number("100") is None
    assert directory.numbers_of_waba("W") == ()

    directory.apply(number_record("n1", "101", version=3, gone=True))

    assert directory.number("101") is None
    assert directory.numbers_of_waba("V") == ()


def test_directory_drops_what_is_not_newer(directory: Directory):
    directory.apply(number_record("n1", "100", version=3, gone=True))
    directory.apply(number_record("n1", "100", version=2))

    assert directory.number("100") is None


def test_directory_keeps_the_next_owner_when_the_deletion_comes_late(directory: Directory):
    directory.apply(number_record("old", "100", tenant="first"))
    directory.apply(number_record("new", "100", tenant="second"))
    directory.apply(number_record("old", "100", tenant="first", version=2, gone=True))

    found = directory.number("100")

    assert found is not None
    assert found.tenant == "second"


def test_directory_forgets_the_numbers_of_an_erased_tenant(directory: Directory):
    directory.apply(number_record("n1", "100"))
    directory.apply(tenant_tombstone("acme"))
    directory.apply(number_record("n2", "101"))

    assert directory.number("100") is None
    assert directory.number("101") is None


def test_directory_takes_a_removal_without_a_version(directory: Directory):
    directory.apply(number_record("n1", "100"))
    directory.apply(raw(directory_key("acme", EntityKind.NUMBER, "n1"), None))

    assert directory.number("100") is None


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(raw(None, b"{}"), id="no-key"),
        pytest.param(raw(b"acme/number/n1", b"{"), id="not-json"),
        pytest.param(raw(b"acme/number/n1", b'{"id":"n1"}'), id="incomplete"),
        pytest.param(
            raw(b"acme/number/other", number_record("n1", "100").value), id="under-another-id"
        ),
        pytest.param(
            raw(b"other/number/n1", number_record("n1", "100").value), id="under-another-tenant"
        ),
    ],
)
def test_directory_refuses_what_it_cannot_read(directory: Directory, record: InRecord):
    with pytest.raises(PermanentError):
        directory.apply(record)


@pytest.mark.parametrize("key", [b"acme/agent/x", b"acme/robot/x", b"x", b"\xff/number/x"])
def test_directory_skips_what_is_not_for_it(directory: Directory, key: bytes):
    directory.apply(raw(key, b"not for us"))


def test_apps_gives_each_secret_with_its_tenants(apps: Apps):
    apps.apply(credentials_record("n1", app_id="app", secret="one", verify_token="v1"))
    apps.apply(credentials_record("n2", app_id="app", secret="one", verify_token="v1"))
    apps.apply(credentials_record("n3", app_id="app", secret="two", tenant="mallory"))

    app = apps.app("app")

    assert app is not None
    assert app.secrets == {b"one": frozenset({"acme"}), b"two": frozenset({"mallory"})}
    assert app.verify_tokens == {b"v1", b"v"}


def test_apps_follows_rotation_moves_and_removal(apps: Apps):
    apps.apply(credentials_record("n1", app_id="app", secret="one"))
    apps.apply(credentials_record("n1", app_id="app", secret="two", version=2))

    assert list(getattr(apps.app("app"), "secrets", ())) == [b"two"]

    apps.apply(credentials_record("n1", app_id="next", version=3))

    assert apps.app("app") is None
    assert apps.app("next") is not None

    apps.apply(credentials_record("n1", app_id=None, version=4))

    assert apps.app("next") is None

    apps.apply(credentials_record("n1", app_id="next", version=5))
    apps.apply(credentials_record("n1", app_id="next", version=6, gone=True))
    apps.apply(credentials_record("n1", app_id="next", version=5))

    assert apps.app("next") is None


def test_apps_refuses_credentials_sealed_for_another_number(apps: Apps):
    sealed = credentials_record("n1", app_id="app")
    value = (sealed.value or b"").replace(b'"number_id":"n1"', b'"number_id":"n2"')

    with pytest.raises(PermanentError) as refused:
        apps.apply(raw(b"n2", value))

    assert refused.value.reason == "credentials_not_opened"


@pytest.mark.parametrize("key", [b"other", None])
def test_apps_refuses_credentials_under_another_key(apps: Apps, key: bytes | None):
    with pytest.raises(PermanentError):
        apps.apply(raw(key, credentials_record("n1", app_id="app").value))


def test_apps_error_does_not_quote_the_credentials(apps: Apps):
    with pytest.raises(PermanentError) as refused:
        apps.apply(raw(b"n1", b'{"sealed": "topsecret"}'))

    assert refused.value.__suppress_context__
    assert "topsecret" not in str(refused.value)
