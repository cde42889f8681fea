"""Settings come from a file, the environment and flags; the later wins, and every mistake is named."""

from pathlib import Path

import pytest

from stream.config.loading import load_config, setting_fields
from stream.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "millstream.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[batching]\nmax_events = 1\nmax_delay_seconds = 1.5\n[model]\nk = 1\n")
    environ = {"MILLSTREAM_BATCHING_MAX_EVENTS": "2", "MILLSTREAM_MODEL_K": "2"}

    loaded = load_config(path, {"model.k": "3"}, environ)

    assert loaded.settings.batching.max_delay_seconds == 1.5
    assert loaded.settings.batching.max_events == 2
    assert loaded.settings.model.k == 3
    assert loaded.origins == {
        "batching.max_delay_seconds": f"file {path}",
        "batching.max_events": "environment MILLSTREAM_BATCHING_MAX_EVENTS",
        "model.k": "flag",
    }


def test_the_environment_can_name_the_settings_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[model]\nk = 7\n")

    assert load_config(environ={"MILLSTREAM_CONFIG": str(path)}).settings.model.k == 7


def test_every_setting_has_a_line_of_text_and_a_valid_default() -> None:
    names = [name for name, _ in setting_fields()]

    assert len(names) == len(set(names)) > 40
    assert all(field.description and field.description[0].isupper() for _, field in setting_fields())
    assert {line.origin for line in load_config(environ={}).lines()} == {"default"}


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = write(tmp_path, "[batching]\nmax_event = 3\n")

    with pytest.raises(
        ConfigError, match=r"batching\.max_event is no setting; the nearest one is batching\.max_events"
    ):
        load_config(path, environ={})
    with pytest.raises(ConfigError, match="nearest one is MILLSTREAM_MODEL_DEVICE"):
        load_config(environ={"MILLSTREAM_MODEL_DEVIC": "cpu"})
    with pytest.raises(ConfigError, match=r"nearest one is model\.seed"):
        load_config(flags={"model.sed": "1"}, environ={})


def test_a_value_out_of_range_says_where_what_and_from_where() -> None:
    with pytest.raises(ConfigError, match=r"batching\.max_events: .*greater than or equal to 1, got '0' \(from flag\)"):
        load_config(flags={"batching.max_events": "0"}, environ={})


def test_several_mistakes_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"(?s)batching\.max_events.*model\.k"):
        load_config(flags={"batching.max_events": "0", "model.k": "x"}, environ={})


def test_rules_between_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="delivery_timeout_ms: expected < transaction_timeout_ms"):
        load_config(flags={"worker.delivery_timeout_ms": "30000"}, environ={})
    with pytest.raises(ConfigError, match="five different topic names"):
        load_config(flags={"topics.items": "events"}, environ={})
    with pytest.raises(ConfigError, match="sasl_mechanism"):
        load_config(flags={"kafka.security_protocol": "SASL_SSL"}, environ={})


def test_a_list_setting_is_split_at_commas() -> None:
    loaded = load_config(flags={"evidence.owned": "purchase, rating"}, environ={})

    assert loaded.settings.evidence.owned == ("purchase", "rating")
    assert load_config(flags={"evidence.owned": ""}, environ={}).settings.evidence.owned == ()


def test_variables_of_a_kubernetes_service_called_millstream_are_no_settings() -> None:
    environ = {
        "MILLSTREAM_PORT": "tcp://10.0.0.1:9464",
        "MILLSTREAM_SERVICE_HOST": "10.0.0.1",
        "MILLSTREAM_SERVICE_PORT": "9464",
        "MILLSTREAM_SERVICE_PORT_HTTP": "9464",
        "MILLSTREAM_PORT_9464_TCP_ADDR": "10.0.0.1",
        "MILLSTREAM_KAFKA_UI_SERVICE_HOST": "10.0.0.2",
    }

    assert load_config(environ=environ).origins == {}


def test_a_file_may_not_say_true_where_a_number_belongs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batching\.max_events: expected no true or false, got true"):
        load_config(write(tmp_path, "[batching]\nmax_events = true\n"), environ={})


def test_an_empty_text_means_not_set_where_nothing_is_a_value() -> None:
    assert load_config(flags={"kafka.ssl_cafile": ""}, environ={}).settings.kafka.ssl_cafile is None


def test_addresses_without_a_port_are_refused() -> None:
    for servers in (",", "kafka", "kafka:x", "a:1,,b:2"):
        with pytest.raises(ConfigError, match=r"kafka\.bootstrap_servers"):
            load_config(flags={"kafka.bootstrap_servers": servers}, environ={})
    assert load_config(flags={"kafka.bootstrap_servers": "[::1]:9092, b:1"}, environ={})


def test_a_login_without_user_or_password_is_refused() -> None:
    sasl = {"kafka.security_protocol": "SASL_SSL", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_plain_username": "ana"}

    with pytest.raises(ConfigError, match="sasl_plain_username, sasl_plain_password: expected both"):
        load_config(flags=sasl, environ={})
    assert load_config(flags=sasl, environ={"MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD": "canary"})


def test_lists_that_could_be_too_long_for_their_topic_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.k: a list of 1000 items .* can have 8272000 bytes"):
        load_config(flags={"model.k": "1000", "events.max_id_bytes": "4096"}, environ={})


def test_a_log_level_may_be_written_in_small_letters() -> None:
    assert load_config(flags={"log.level": "debug"}, environ={}).settings.log.level == "DEBUG"


def test_a_secret_is_refused_on_the_command_line() -> None:
    with pytest.raises(ConfigError, match="MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD") as caught:
        load_config(flags={"kafka.sasl_plain_password": "canary"}, environ={})

    assert "canary" not in str(caught.value)


def test_a_secret_is_never_shown() -> None:
    environ = {"MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD": "canary"}

    loaded = load_config(environ=environ)

    shown = {line.name: line.value for line in loaded.lines()}
    assert shown["kafka.sasl_plain_password"] == "********"
    assert "canary" not in repr(loaded)


def test_a_file_that_is_no_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nowhere.toml", environ={})
    with pytest.raises(ConfigError, match="expected TOML"):
        load_config(write(tmp_path, "max_events ="), environ={})
    with pytest.raises(ConfigError, match="expected a table"):
        load_config(write(tmp_path, "max_events = 3"), environ={})


def test_a_login_inside_a_url_is_never_shown() -> None:
    loaded = load_config(environ={"MILLSTREAM_CHECKPOINTS_URL": "ftp://ana:can@ry@host/checkpoints"})

    shown = {line.name: line.value for line in loaded.lines()}
    assert shown["checkpoints.url"] == "ftp://********@host/checkpoints"
    assert loaded.settings.checkpoints.url == "ftp://ana:can@ry@host/checkpoints"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8"])
def test_a_settings_file_of_any_editor_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "millstream.toml"
    file.write_bytes('[model]\r\nk = 7\r\n[checkpoints]\r\nurl = "caf\u00e9"\r\n'.encode(encoding))

    settings = load_config(file, environ={}).settings

    assert (settings.model.k, settings.checkpoints.url) == (7, "caf\u00e9")


@pytest.mark.parametrize("servers", ["127.0.0.1", "a:1;b:2", "a:1 b:2"])
def test_brokers_in_another_form_are_refused_with_the_form_that_is_meant(servers: str) -> None:
    with pytest.raises(ConfigError, match="expected host:port, or several as host:port,host:port, got"):
        load_config(flags={"kafka.bootstrap_servers": servers}, environ={})
