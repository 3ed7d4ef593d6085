import base64
import io
import shlex
import stat
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import kafka, mongod, redis, services
from deploy.local.__main__ import main
from deploy.local.demo.places import Places
from deploy.local.demo.summary import print_summary
from deploy.local.errors import LocalStackError
from deploy.local.home import Home, cache_folder
from deploy.local.ports import DEFAULTS, NAMES, Ports
from deploy.local.stack import Stack, require_platform


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    home = Home(tmp_path / "home")
    home.create()
    return Stack(home, Ports({"kafka": 19092, "console": 18080, "ingest": 18081}))


def as_settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_ports_are_the_documented_ones_unless_overridden():
    ports = Ports.from_environment({"ATRIO_REDIS_PORT": "16379", "ATRIO_KAFKA_PORT": ""})
    assert ports["redis"] == 16379
    assert {name: ports[name] for name in NAMES if name != "redis"} == {
        name: port for name, port in DEFAULTS.items() if name != "redis"
    }


@pytest.mark.parametrize("value", ["0", "65536", "-1", "redis"])
def test_a_port_that_is_none_is_refused(value: str):
    with pytest.raises(LocalStackError, match="ATRIO_REDIS_PORT"):
        Ports.from_environment({"ATRIO_REDIS_PORT": value})


def test_two_names_on_one_port_are_refused():
    with pytest.raises(LocalStackError, match="9092"):
        Ports.from_environment({"ATRIO_REDIS_PORT": "9092"})


def test_home_is_dot_atrio_unless_overridden(tmp_path: Path):
    assert Home.from_environment({}).path.name == ".atrio"
    assert Home.from_environment({"ATRIO_HOME": str(tmp_path)}).path == tmp_path


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"ATRIO_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c", id="own"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "/x/atrio", id="xdg"),
        pytest.param({}, str(Path.home() / ".cache" / "atrio"), id="default"),
    ],
)
def test_cache_folder_follows_the_environment(environ: dict[str, str], expected: str):
    assert cache_folder(environ) == Path(expected)


def test_kafka_listens_on_loopback_only(tmp_path: Path):
    settings = as_settings(kafka.properties(tmp_path, 9092, 9093))
    assert settings["listeners"] == "BROKER://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert settings["advertised.listeners"] == "BROKER://127.0.0.1:9092"


def test_kafka_creates_no_topic_by_mistake_and_takes_large_records(tmp_path: Path):
    settings = as_settings(kafka.properties(tmp_path, 9092, 9093))
    assert settings["auto.create.topics.enable"] == "false"
    assert int(settings["message.max.bytes"]) == 5 * 1024 * 1024
    assert int(settings["replica.fetch.max.bytes"]) >= int(settings["message.max.bytes"])


def test_kafka_rebalances_without_delay(tmp_path: Path):
    settings = as_settings(kafka.properties(tmp_path, 9092, 9093))
    assert settings["group.initial.rebalance.delay.ms"] == "0"


def test_mongod_is_a_replica_set_on_loopback_that_logs_no_documents(tmp_path: Path):
    command = " ".join(mongod.command(Path("/bin/mongod"), tmp_path, 27017))
    assert "--bind_ip 127.0.0.1" in command
    assert "--replSet rs0" in command
    assert "--slowms 3600000" in command


def test_redis_appends_every_write_to_its_file(tmp_path: Path):
    command = " ".join(redis.command(Path("/bin/redis-server"), tmp_path, 6379))
    assert "--bind 127.0.0.1" in command
    assert "--appendonly yes --appendfsync everysec" in command


def test_services_are_handed_the_addresses_of_the_stack(stack: Stack):
    env = services.environment(stack, {})
    assert env["ATRIO_KAFKA_SERVERS"] == "127.0.0.1:19092"
    assert env["ATRIO_MONGO_URL"] == "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    assert env["ATRIO_REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert env["ATRIO_GRAPH_URL"] == "http://127.0.0.1:8090"
    assert env["ATRIO_INGEST_URL"] == "http://127.0.0.1:18081"
    assert env["ATRIO_INGEST_PORT"] == "18081"
    assert env["ATRIO_HOME"] == str(stack.home.path)
    assert env["ATRIO_ALLOWED_ORIGINS"] == "http://127.0.0.1:18080,http://localhost:18080"


def test_regression_one_clients_failures_do_not_lock_the_whole_machine_out(stack: Stack):
    env = services.environment(stack, {})
    assert int(env["ATRIO_SIGN_IN_FAILURES_PER_ADDRESS"]) > 10_000


def test_settings_of_the_user_win(stack: Stack):
    given = {"ATRIO_GRAPH_URL": "http://127.0.0.1:1", "ATRIO_VERIFY_TOKEN": "", "OTHER": ""}
    env = services.environment(stack, given)
    assert env["ATRIO_GRAPH_URL"] == "http://127.0.0.1:1"
    assert env["ATRIO_VERIFY_TOKEN"] == "verify-me"
    assert env["OTHER"] == ""


def test_regression_a_start_does_not_compile_everything_again(stack: Stack, tmp_path: Path):
    given = {"PYTHONDONTWRITEBYTECODE": "1", "ATRIO_CACHE": str(tmp_path)}
    env = services.environment(stack, given)
    assert env["PYTHONDONTWRITEBYTECODE"] == ""
    assert env["PYTHONPYCACHEPREFIX"] == str(tmp_path / "bytecode")
    assert "PYTHONPYCACHEPREFIX" not in services.environment(stack, {})


def test_keys_are_made_once_and_only_their_owner_reads_them(stack: Stack):
    first, second = services.environment(stack, {}), services.environment(stack, {})
    for name, file in (("ATRIO_MASTER_KEY", "master.key"), ("ATRIO_KEY_SECRET", "key.secret")):
        assert first[name] == second[name]
        assert len(base64.b64decode(first[name])) == 32
        assert stat.S_IMODE(stack.home.data(file).stat().st_mode) == 0o600
    assert first["ATRIO_MASTER_KEY"] != first["ATRIO_KEY_SECRET"]


def test_a_service_without_an_entry_is_not_runnable(tmp_path: Path):
    (tmp_path / "services" / "ingest").mkdir(parents=True)
    assert not services.is_runnable("services.ingest", tmp_path)
    (tmp_path / "services" / "ingest" / "__main__.py").touch()
    assert services.is_runnable("services.ingest", tmp_path)


def test_an_unknown_service_is_refused_with_the_names_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("ATRIO_HOME", str(tmp_path))
    assert main(["up", "--services", "ingest,inbocks"]) == 1
    error = capsys.readouterr().err
    assert "unknown: inbocks" in error
    assert "inbox" in error


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_platform_is_pointed_to_docker(system: str, machine: str):
    with pytest.raises(LocalStackError, match=r"docker compose -f deploy/compose\.yaml"):
        require_platform(system, machine)


def test_this_platform_is_taken():
    require_platform("Linux", "x86_64")


def test_a_shell_is_given_what_the_services_are_handed(stack: Stack):
    lines = services.exports(stack, {"ATRIO_APP_SECRETS": "it's mine", "LANG": "C"}).splitlines()
    given = {
        name: value
        for line in lines
        for _, word in [shlex.split(line)]
        for name, _, value in [word.partition("=")]
    }
    assert given["ATRIO_APP_SECRETS"] == "it's mine"
    assert given["ATRIO_KAFKA_SERVERS"] == stack.kafka_servers
    assert given["ATRIO_MASTER_KEY"] == services.environment(stack, {})["ATRIO_MASTER_KEY"]
    assert "LANG" not in given


@pytest.mark.parametrize(
    ("environment", "watch"),
    [
        pytest.param({}, ".venv/bin/python -m deploy.local.demo watch", id="default-ports"),
        pytest.param(
            {"ATRIO_INBOX_PORT": "18082", "ATRIO_NOTIFIER_PORT": "18083"},
            "ATRIO_INBOX_URL=http://127.0.0.1:18082 ATRIO_NOTIFIER_URL=http://127.0.0.1:18083 "
            ".venv/bin/python -m deploy.local.demo watch",
            id="other-ports",
        ),
    ],
)
def test_regression_the_demos_commands_work_in_another_terminal(
    tmp_path: Path, environment: dict[str, str], watch: str
):
    out = io.StringIO()
    places = Places.from_environment(environment)

    print_summary(places, Home(tmp_path), Console(file=out, width=300))

    assert any(line.startswith(watch) for line in out.getvalue().splitlines())
