"""Apache Kafka for tests: one node or three (KRaft, each also a controller), each stopped, killed, frozen, restarted.

Runs from the jars in `libs/` below the folder that KAFKA_HOME names, with the machine's `java`. Nothing of it outlives
the tests: every node has a guard that ends it and removes its folder when the process of the tests is gone, however
that went.
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import errors
from kafka.protocol.admin import DescribeClusterRequest, DescribeQuorumRequest
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol

from millstream.local.guarded_process import GuardedProcess

__all__ = ["ApacheKafka", "why_not"]

HOST = "127.0.0.1"
DEADLINE_SECONDS = 120.0
"""For whatever is waited for: three nodes need some 12 s on two idle cores."""
POLL_SECONDS = 0.1
ANSWER_SECONDS = 5.0
STOP_SECONDS = 30.0
PORTS = range(10_000, 32_000)
"""Below those that the system gives to outgoing connections: nobody takes the port of a node that is down."""
TRANSACTION = 1
"""What FindCoordinator calls a transactional id."""
JAVA_FLAGS = ("-Xmx256m", "-Xms96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
LOGGING = """\
appender.console.type = Console
appender.console.name = out
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def why_not() -> str | None:
    """Return why Apache Kafka cannot be started here, or None when it can."""
    home = os.environ.get("KAFKA_HOME", "")
    if not home:
        return "needs Apache Kafka 4: KAFKA_HOME names no unpacked one"
    if not any(_libs().glob("kafka_*.jar")):
        return f"needs Apache Kafka 4: no libs/kafka_*.jar in KAFKA_HOME, {home}"
    if shutil.which("java") is None:
        return "needs Java 17 for Apache Kafka: apt-get install openjdk-17-jre-headless"
    return None


class ApacheKafka:
    """A cluster that runs from `start` to `stop`, the end of the `with` block, or the end of this process.

    Args:
        num_nodes: 1 or 3. With three, topics of the brokers' own have three replicas and need two in sync.
        properties: further lines for every node's server.properties.
    """

    def __init__(self, num_nodes: int = 1, properties: str = "") -> None:
        self.nodes = tuple(range(1, num_nodes + 1))
        self._properties = properties
        self._cluster_id = "m" + secrets.token_urlsafe(16)[1:]  # a dash in front would be taken for a flag
        ports = _free_ports(2 * num_nodes)
        self._ports = dict(zip(self.nodes, ports[:num_nodes], strict=True))
        self._controllers = dict(zip(self.nodes, ports[num_nodes:], strict=True))
        self._folders: dict[int, Path] = {}
        self._processes: dict[int, GuardedProcess] = {}

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes, as Kafka clients are given them."""
        return ",".join(f"{HOST}:{port}" for port in self._ports.values())

    def address(self, node: int) -> str:
        """Return the address of this node."""
        return f"{HOST}:{self._ports[node]}"

    def pid(self, node: int) -> int:
        """Return the process number of this node."""
        return self._processes[node].pid

    def running(self) -> list[int]:
        """Return the nodes whose process has not ended; a frozen one has not."""
        return [node for node, process in self._processes.items() if process.poll() is None]

    def start(self) -> None:
        """Start all nodes; return once every one of them says that all are registered and not fenced."""
        try:
            for node in self.nodes:
                self._folders[node] = self._configured(node)
            self._format()
            for node in self.nodes:
                self._launch(node)
            for node in self.nodes:
                self.await_registered(node)
        except BaseException:
            self.close()
            raise

    def stop(self, node: int) -> None:
        """End one node in an orderly way: it hands over what it leads first."""
        self._processes[node].stop()

    def kill(self, node: int) -> None:
        """End one node with SIGKILL; the others take it for dead after `broker.session.timeout.ms`, 9 s."""
        self._processes[node].kill()

    def freeze(self, node: int) -> None:
        """Let one node stand still, as a long pause of its machine would."""
        self._processes[node].signal(signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """Let a frozen node go on."""
        self._processes[node].signal(signal.SIGCONT)

    def again(self, node: int) -> None:
        """Start a node that was stopped or killed on its data; return once it is registered."""
        assert node not in self.running(), f"node {node} runs"
        self._launch(node)
        self.await_registered(node)

    def await_registered(self, node: int) -> None:
        """Wait until this node and all others that run say that it is registered and not fenced."""
        self._until(lambda: all(self._takes_for_alive(asked, node) for asked in self.running()), f"node {node}")

    def await_in_sync(self) -> None:
        """Wait until every replica of every partition is in sync, and all partitions have a leader."""
        self._until(lambda: all(self._is_in_sync(asked) for asked in self.running()), "replicas in sync")

    def leader(self, topic: str, partition: int) -> int:
        """Return the node that leads this partition."""

        def lookup(asked: int) -> int:
            answer = self._ask(asked, MetadataRequest(version=12, topics=[_topic(topic)]))
            parts = {part.partition_index: part for part in answer.topics[0].partitions}
            return int(parts[partition].leader_id)

        return self._first_answer(lookup, f"a leader of {topic}[{partition}]")

    def transaction_coordinator(self, transactional_id: str) -> int:
        """Return the node that coordinates the transactions of this id."""

        def lookup(asked: int) -> int:
            request = FindCoordinatorRequest(version=4, key_type=TRANSACTION, coordinator_keys=[transactional_id])
            found = self._ask(asked, request).coordinators[0]
            return int(found.node_id) if found.error_code == 0 else -1

        return self._first_answer(lookup, f"a coordinator of {transactional_id}")

    def controller(self) -> int:
        """Return the node whose controller is the active one."""

        def lookup(asked: int) -> int:
            part = DescribeQuorumRequest.TopicData.PartitionData(partition_index=0)
            topic = DescribeQuorumRequest.TopicData(topic_name="__cluster_metadata", partitions=[part])
            answer = self._ask(asked, DescribeQuorumRequest(version=2, topics=[topic]))
            return int(answer.topics[0].partitions[0].leader_id) if answer.error_code == 0 else -1

        return self._first_answer(lookup, "an active controller")

    def close(self) -> None:
        """End all nodes at once and remove their folders: nobody reads them again."""
        for process in self._processes.values():
            process.signal(signal.SIGKILL)
        for process in self._processes.values():
            process.kill()
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._folders = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Files and processes

    def _configured(self, node: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"millstream-kafka-{node}-"))
        (folder / "server.properties").write_text(self._server_properties(node, folder), encoding="utf-8")
        (folder / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
        return folder

    def _server_properties(self, node: int, folder: Path) -> str:
        num_replicas = len(self.nodes)
        num_in_sync = 2 if num_replicas > 1 else 1
        voters = ",".join(f"{voter}@{HOST}:{port}" for voter, port in self._controllers.items())
        return f"""\
node.id={node}
process.roles=broker,controller
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{self.address(node)},CONTROLLER://{HOST}:{self._controllers[node]}
advertised.listeners=PLAINTEXT://{self.address(node)}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
default.replication.factor={num_replicas}
min.insync.replicas={num_in_sync}
offsets.topic.replication.factor={num_replicas}
offsets.topic.num.partitions=5
transaction.state.log.replication.factor={num_replicas}
transaction.state.log.min.isr={num_in_sync}
transaction.state.log.num.partitions=5
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.cleaner.threads=1
background.threads=2
{self._properties}
"""

    def _format(self) -> None:
        """Write the identity of the cluster into every node's data folder."""
        running = {node: self._format_one(node) for node in self.nodes}
        for node, process in running.items():
            words, _ = process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 0, f"node {node} could not be formatted: {words!r}"

    def _format_one(self, node: int) -> "subprocess.Popen[bytes]":
        arguments = ["format", "-t", self._cluster_id, "-c", str(self._folders[node] / "server.properties")]
        command = self._java(node, "kafka.tools.StorageTool", *arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _launch(self, node: int) -> None:
        folder = self._folders[node]
        with (folder / "log").open("ab") as log:
            self._processes[node] = GuardedProcess(
                self._java(node, "kafka.Kafka", str(folder / "server.properties")),
                stdout=log,
                grace_seconds=STOP_SECONDS,
                scratch_dir=folder,
            )

    def _java(self, node: int, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._folders[node]}/log4j2.properties"
        return ["java", *JAVA_FLAGS, logging, "-cp", f"{_libs()}/*", main, *arguments]

    # Questions

    def _takes_for_alive(self, asked: int, node: int) -> bool:
        answer = self._ask(asked, DescribeClusterRequest(version=2, include_fenced_brokers=True))
        return any(broker.broker_id == node and not broker.is_fenced for broker in answer.brokers)

    def _is_in_sync(self, asked: int) -> bool:
        topics = self._ask(asked, MetadataRequest(version=12, topics=None)).topics
        parts = [part for topic in topics for part in topic.partitions]
        return all(part.leader_id >= 0 and len(part.isr_nodes) == len(part.replica_nodes) for part in parts)

    def _first_answer(self, lookup: Callable[[int], int], what: str) -> int:
        found = -1

        def is_known() -> bool:
            nonlocal found
            for asked in self.running():
                try:
                    found = lookup(asked)
                except (OSError, errors.KafkaError):
                    continue
                if found >= 0:
                    return True
            return False

        self._until(is_known, what)
        return found

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            self._expect_all_alive()
            try:
                if holds():
                    return
            except (OSError, errors.KafkaError) as error:
                what = f"{what.partition(' (')[0]} ({error})"
            if time.monotonic() > deadline:
                raise TimeoutError(f"Apache Kafka: no {what} within {DEADLINE_SECONDS:g} s: {self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _expect_all_alive(self) -> None:
        """A node that ended by itself ends the waiting: 143 and -9 are what we do to it."""
        for node, process in self._processes.items():
            code = process.poll()
            if code not in (None, 0, 143, -signal.SIGTERM, -signal.SIGKILL):
                raise RuntimeError(f"Apache Kafka: node {node} ended with {code}: {self._last_words()}")

    def _last_words(self) -> str:
        logs = [(node, (folder / "log").read_text(errors="replace")) for node, folder in self._folders.items()]
        return " || ".join(f"node {node}: {' | '.join(log.splitlines()[-8:])}" for node, log in logs)

    def _ask(self, node: int, request: Any) -> Any:
        """Ask this very node, over a connection of its own: the client would choose whom it asks."""
        protocol = KafkaProtocol(client_id="tests", ident="")
        protocol.send_request(request)
        with socket.create_connection((HOST, self._ports[node]), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(protocol.send_bytes())
            while True:
                received = connection.recv(65_536)
                if not received:
                    raise ConnectionError(f"node {node} ended the connection")
                for _, answer in protocol.receive_bytes(received):
                    return answer


def _topic(name: str) -> Any:
    return MetadataRequest.MetadataRequestTopic(name=name)


def _libs() -> Path:
    return Path(os.environ["KAFKA_HOME"]) / "libs"


def _free_ports(number: int) -> list[int]:
    drawn = random.SystemRandom().sample(PORTS, 20 * number)
    return [port for port in drawn if _is_free(port)][:number]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
