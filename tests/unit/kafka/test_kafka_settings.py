import pytest

from shared.contracts.topics import INBOUND
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import create_broker


def test_names_carry_prefix_and_lane() -> None:
    settings = KafkaSettings(topic_prefix="x.", lane="big")
    assert settings.topic_name(INBOUND) == "x.whatsapp.inbound.v1.big"
    assert settings.dead_name(INBOUND) == "x.whatsapp.inbound.v1.big.dead"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATRIO_KAFKA_SERVERS", "a:1,b:2")
    monkeypatch.setenv("ATRIO_TOPIC_PREFIX", "t.")
    monkeypatch.setenv("ATRIO_SOMETHING_ELSE", "ignored")
    settings = KafkaSettings()
    assert (settings.kafka_servers, settings.topic_prefix) == ("a:1,b:2", "t.")


def test_a_password_reaches_the_client_and_never_the_repr() -> None:
    settings = KafkaSettings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="svc",
        kafka_sasl_password="hunter2",  # type: ignore[arg-type]
    )
    options = settings.client_options()
    assert options["sasl_plain_password"] == "hunter2"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["ssl_context"] is not None
    assert "hunter2" not in repr(settings)


def test_a_broker_neither_creates_topics_nor_produces() -> None:
    config = create_broker(KafkaSettings(), client_id="t").config.broker_config
    assert config.consumer_only
    assert not config.allow_auto_create_topics
