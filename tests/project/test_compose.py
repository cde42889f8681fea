"""docker-compose.yml, judged without an engine: names, ports, mounts, order of start, and our own command lines."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.config.loading import load_config
from stream.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = [name for name, service in SERVICES.items() if str(service["image"]).startswith("millstream:")]

KAFKA_PROPERTIES = {
    "node.id",
    "process.roles",
    "controller.quorum.voters",
    "controller.listener.names",
    "inter.broker.listener.name",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "log.dirs",
    "auto.create.topics.enable",
    "group.initial.rebalance.delay.ms",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
}
"""Written by hand from Kafka's list of broker settings: what this node must say, and all that it may say."""


def env_name(kafka_property: str) -> str:
    """Return the environment variable that the image turns into this property."""
    return "KAFKA_" + kafka_property.replace("-", "___").replace("_", "__").replace(".", "_").upper()


def listeners(text: str) -> dict[str, str]:
    """Return the address of each listener of `NAME://address,NAME://address`."""
    return {name: address for name, _, address in (entry.partition("://") for entry in text.split(","))}


def kafka_env() -> dict[str, str]:
    return {name: str(value) for name, value in SERVICES["kafka"]["environment"].items()}


def test_the_services_are_those_that_the_readme_promises() -> None:
    promised = {"kafka", "topics", "worker", "worker-gpu", "serve", "producer", "prometheus", "grafana"}

    assert set(SERVICES) == promised


def test_every_kafka_variable_is_the_image_s_name_of_a_known_property() -> None:
    names = {name for name in kafka_env() if name.startswith("KAFKA_")}

    assert names == {env_name(kafka_property) for kafka_property in KAFKA_PROPERTIES}


def test_the_conversion_rule_is_the_image_s() -> None:
    assert env_name("transaction.state.log.min.isr") == "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"
    assert env_name("some_under.score") == "KAFKA_SOME__UNDER_SCORE"


def test_transactions_and_groups_work_on_a_single_node() -> None:
    env = kafka_env()
    single = [name for name in env if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))]

    assert len(single) == 5
    assert {env[name] for name in single} == {"1"}
    assert env["KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS"] == "0"
    assert env["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_cluster_id_is_sixteen_bytes_in_base64() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", kafka_env()["CLUSTER_ID"])


def test_kafka_listens_for_the_containers_for_the_host_and_for_its_controller() -> None:
    env = kafka_env()
    bound = listeners(env["KAFKA_LISTENERS"])
    advertised = listeners(env["KAFKA_ADVERTISED_LISTENERS"])
    protocols = dict(pair.split(":") for pair in env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))

    assert advertised == {"INTERNAL": "kafka:19092", "HOST": "localhost:9092"}
    assert set(bound) == {"CONTROLLER", "INTERNAL", "HOST"} == set(protocols)
    for name, address in advertised.items():
        assert bound[name].rpartition(":")[2] == address.rpartition(":")[2]
    assert env["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised
    assert env["KAFKA_CONTROLLER_LISTENER_NAMES"] == "CONTROLLER"
    assert env["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{env['KAFKA_NODE_ID']}@kafka{bound['CONTROLLER']}"


def test_kafka_keeps_its_log_in_a_volume() -> None:
    assert f"kafka-data:{kafka_env()['KAFKA_LOG_DIRS']}" in SERVICES["kafka"]["volumes"]


def test_ports_are_the_documented_ones_and_open_to_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert ports == {
        "kafka": ["127.0.0.1:9092:9092"],
        "worker": ["127.0.0.1:9464:9464"],
        "worker-gpu": ["127.0.0.1:9464:9464"],
        "serve": ["127.0.0.1:8080:8080"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert Settings().metrics.port == 9464
    assert Settings().serve.port == 8080


def test_every_mount_is_a_file_of_the_repository_or_a_named_volume() -> None:
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    sources = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]

    assert sources
    for source in sources:
        assert (ROOT / source).exists() if source.startswith(".") else source in volumes, source


def test_every_build_names_a_dockerfile_and_its_own_arguments() -> None:
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "deploy/Dockerfile").read_text(), flags=re.MULTILINE))

    assert OURS
    for name in OURS:
        build = SERVICES[name]["build"]
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()
        assert set(build["args"]) <= declared, name


def test_every_millstream_variable_is_a_setting_and_its_value_is_valid() -> None:
    for name in OURS:
        environment = {variable: str(value) for variable, value in SERVICES[name]["environment"].items()}
        assert all(variable.startswith("MILLSTREAM_") for variable in environment)
        load_config(environ=environment)  # an unknown variable is an error


def test_every_container_of_ours_reaches_kafka_at_the_address_that_kafka_advertises() -> None:
    advertised = listeners(kafka_env()["KAFKA_ADVERTISED_LISTENERS"])["INTERNAL"]

    assert {SERVICES[name]["environment"]["MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"] for name in OURS} == {advertised}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["topics", "worker", "worker-gpu", "serve", "producer"])
def test_every_command_of_ours_exists_with_its_flags(name: str) -> None:
    arguments = [str(argument) for argument in SERVICES[name]["command"]]
    flags = [argument for argument in arguments if argument.startswith("--")]
    depth = 2 if name == "topics" else 1

    shown = subprocess.run(
        [sys.executable, "-c", "from millstream.main import main; main()", *arguments[:depth], "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        check=False,
    )

    assert shown.returncode == 0, shown.stderr
    for flag in flags:
        assert re.search(rf"{flag}\b", shown.stdout), f"`millstream {' '.join(arguments)}`: no {flag}"


def test_services_start_in_order() -> None:
    waits = {
        name: {other: how["condition"] for other, how in service["depends_on"].items()}
        for name, service in SERVICES.items()
        if "depends_on" in service
    }
    after_topics = {"topics": "service_completed_successfully"}

    assert waits == {
        "topics": {"kafka": "service_healthy"},
        "worker": after_topics,
        "worker-gpu": after_topics,
        "serve": after_topics,
        "producer": after_topics,
        "grafana": {"prometheus": "service_healthy"},
    }
    for others in waits.values():
        for other, condition in others.items():
            assert condition != "service_healthy" or "test" in SERVICES[other]["healthcheck"]
            assert "profiles" not in SERVICES[other], f"{other} may be switched off while others wait for it"


def test_exactly_one_worker_runs_and_prometheus_finds_either() -> None:
    chosen = dict(line.split("=") for line in (ROOT / ".env").read_text().splitlines() if re.match(r"\w+=", line))
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scrape for config in job["static_configs"] for target in config["targets"]]

    assert SERVICES["worker"]["profiles"] == ["cpu"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert chosen["COMPOSE_PROFILES"] == "cpu"
    assert {"worker:9464", "serve:8080"} <= set(targets)
    assert "worker" in SERVICES["worker-gpu"]["networks"]["default"]["aliases"]


def test_the_gpu_worker_reserves_a_gpu_and_the_other_does_not() -> None:
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "deploy" not in SERVICES["worker"]
    assert SERVICES["worker-gpu"]["environment"]["MILLSTREAM_MODEL_DEVICE"] == "cuda"


def test_a_worker_that_is_stopped_has_time_to_commit_its_batch() -> None:
    for name in ("worker", "worker-gpu"):
        grace_seconds = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace_seconds > Settings().worker.commit_deadline_seconds


def test_a_server_that_is_stopped_has_time_to_finish_its_requests() -> None:
    grace_seconds = float(SERVICES["serve"]["stop_grace_period"].removesuffix("s"))

    assert grace_seconds > Settings().serve.ack_timeout_seconds + 5


def test_the_server_is_asked_on_its_own_port_whether_it_is_ready() -> None:
    assert ":8080/readyz" in SERVICES["serve"]["healthcheck"]["test"][-1]


def test_containers_that_serve_nothing_are_not_asked_whether_they_are_ready() -> None:
    assert {name for name in OURS if SERVICES[name].get("healthcheck") == {"disable": True}} == {"topics", "producer"}


def test_every_image_is_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[\w./-]+:v?[\w.-]+", service["image"]), name
        assert not service["image"].endswith(":latest"), name


def test_what_listens_everywhere_in_a_container_answers_only_to_names_of_this_machine() -> None:
    for service in SERVICES.values():
        environment = service.get("environment") or {}
        for section in ("METRICS", "SERVE"):
            if environment.get(f"MILLSTREAM_{section}_HOST") == "0.0.0.0":
                assert "localhost" in environment[f"MILLSTREAM_{section}_ALLOWED_HOSTS"].split(",")
