"""Every setting: its one home, default, unit, range and line of text.

Read by `stream.config.loading` from a TOML file, the environment and flags. Sections are the TOML tables. In the
environment a setting is called `MILLSTREAM_<SECTION>_<KEY>`, as in `MILLSTREAM_BATCHING_MAX_EVENTS=256`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from stream.wire.schema import EVENT_TYPES, EventType

__all__ = [
    "BatchingSettings",
    "CheckpointSettings",
    "EventSettings",
    "EvidenceSettings",
    "KafkaSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "QualitySettings",
    "ServeSettings",
    "Settings",
    "TopicSettings",
    "WorkerSettings",
]

_PLACE_BYTES = 80
"""Upper bound of what one place of a list has besides its two ids, as JSON."""

TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Identity = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,200}$")]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """Connection to the brokers, under Kafka's own names."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        pattern=r"^\s*[^\s,;]+:\d{1,5}(\s*,\s*[^\s,;]+:\d{1,5})*\s*$",
        description="Brokers, as host:port,host:port.",
    )
    client_id: Identity = Field("millstream", description="Prefix of the client ids seen in broker logs and quotas.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    ssl_cafile: Path | None = Field(None, description="CA certificates (PEM) that the brokers are checked against.")
    ssl_certfile: Path | None = Field(None, description="Client certificate (PEM), for mutual TLS.")
    ssl_keyfile: Path | None = Field(None, description="Key of the client certificate (PEM).")
    ssl_password: SecretStr | None = Field(None, description="Password of the key file.")
    ssl_password_file: Path | None = Field(None, description="File that holds ssl_password.")
    ssl_check_hostname: bool = Field(True, description="Check that the broker's certificate is for its host name.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism; needed with SASL_PLAINTEXT and SASL_SSL."
    )
    sasl_plain_username: str | None = Field(None, description="SASL user, for PLAIN and SCRAM.")
    sasl_plain_password: SecretStr | None = Field(None, description="SASL password, for PLAIN and SCRAM.")
    sasl_plain_password_file: Path | None = Field(None, description="File that holds sasl_plain_password.")
    request_timeout_ms: int = Field(10_000, ge=1_000, le=300_000, description="Longest wait for one answer, ms.")
    bootstrap_timeout_ms: int = Field(15_000, ge=500, le=300_000, description="Longest wait for a broker at start, ms.")
    compression_type: Literal["none", "gzip", "lz4", "snappy", "zstd"] = Field(
        "none", description="Compression of what is produced. What is read may be compressed in any of these ways."
    )

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"sasl_mechanism: expected PLAIN or SCRAM-… with {self.security_protocol}, got nothing")
        has_password = self.sasl_plain_password is not None or self.sasl_plain_password_file is not None
        if self.security_protocol.startswith("SASL") and not (self.sasl_plain_username and has_password):
            raise ValueError(
                f"sasl_plain_username, sasl_plain_password: expected both with {self.security_protocol} "
                "(the password from the environment, or from the file in sasl_plain_password_file)"
            )
        return self


class TopicSettings(_Section):
    """Names of the topics, and how `millstream topics create` makes them."""

    events: TopicName = Field("events", description="In: interactions.")
    items: TopicName = Field("items", description="In: what is known of the items (titles).")
    recommendations: TopicName = Field("recommendations", description="Out: the newest list of every user; compacted.")
    dead_letters: TopicName = Field("events.dlq", description="Out: events that could not be read, with the reason.")
    journal: TopicName = Field("millstream.journal", description="Internal: one record per committed micro-batch.")
    partitions: int = Field(4, ge=1, le=10_000, description="Partitions of events, dead letters and recommendations.")
    replication_factor: int = Field(1, ge=1, le=10, description="Replicas of every topic; 3 in production.")
    min_insync_replicas: int = Field(1, ge=1, le=10, description="Replicas that must have a write; 2 in production.")
    max_message_bytes: int = Field(
        4_194_304, ge=1_048_576, le=104_857_600, description="Largest record of events and dead letters, bytes."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "TopicSettings":
        names = [self.events, self.items, self.recommendations, self.dead_letters, self.journal]
        if len(set(names)) < len(names):
            raise ValueError(f"expected five different topic names, got {', '.join(names)}")
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas: expected <= replication_factor ({self.replication_factor}), "
                f"got {self.min_insync_replicas}"
            )
        return self


class WorkerSettings(_Section):
    """Identity of the worker and its transactions."""

    group_id: Identity = Field("millstream", description="Consumer group that holds the committed offsets.")
    transactional_id: Identity = Field(
        "millstream-0", description="Identity of the one worker: a second one with it takes over and ends the first."
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without committed offsets begins."
    )
    transaction_timeout_ms: int = Field(
        30_000, ge=5_000, le=900_000, description="After this the broker aborts an open transaction, ms."
    )
    delivery_timeout_ms: int = Field(
        20_000, ge=2_000, le=600_000, description="Longest wait for a record to be written, ms; below the former."
    )
    commit_deadline_seconds: float = Field(
        25.0, gt=0, le=600, description="A commit without an answer for this long ends the worker (exit code 6)."
    )
    resume_from: Literal["agreement", "group", "journal"] = Field(
        "agreement",
        description="Which offsets to trust when group and journal disagree; 'agreement' refuses to start.",
    )
    broker_deadline_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Brokers that answer nothing for this long, also at the start, end it (exit code 7).",
    )
    max_clock_behind_seconds: float = Field(
        300.0,
        ge=0,
        le=31_536_000,
        description="A clock further behind that of the newest batch ends the worker (exit code 4).",
    )
    stall_deadline_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="No progress for this long while the lag is not 0 ends the worker (exit code 8).",
    )

    @model_validator(mode="after")
    def _timeouts_are_ordered(self) -> "WorkerSettings":
        if self.delivery_timeout_ms >= self.transaction_timeout_ms:
            raise ValueError(
                f"delivery_timeout_ms: expected < transaction_timeout_ms ({self.transaction_timeout_ms}), "
                f"got {self.delivery_timeout_ms}; a record may not outlive its transaction"
            )
        return self


class CheckpointSettings(_Section):
    """Copies of the state, from which a restart goes on. What they promise is in docs/exactly-once.md."""

    url: str = Field(
        "checkpoints",
        description="Folder, or URL that fsspec knows (s3://…); one per worker. Empty: none, a start re-learns all.",
    )
    interval_seconds: float = Field(
        60.0, gt=0, le=86_400, description="How often one is written: a restart re-learns at most what came since."
    )
    keep: int = Field(3, ge=1, le=1_000, description="How many are kept; older ones are deleted.")
    group_readable: bool = Field(
        False, description="Let the group read what is written to a folder (0640), for backups; else the owner alone."
    )


class BatchingSettings(_Section):
    """When a micro-batch closes: at whichever limit is met first."""

    max_events: int = Field(1024, ge=1, le=65_536, description="Most records in a batch; bounds step time.")
    max_bytes: int = Field(
        67_108_864,
        ge=1_024,
        le=1_073_741_824,
        description="A batch with so many bytes of records takes no more; with the longest record, bounds memory.",
    )
    max_delay_seconds: float = Field(
        0.05, gt=0, le=60, description="Longest a record waits for company, on the monotonic clock."
    )


class EventSettings(_Section):
    """What is a good event. The rest goes to the dead-letter topic."""

    max_value_bytes: int = Field(262_144, ge=256, le=10_485_760, description="Longest record value that is read.")
    max_id_bytes: int = Field(256, ge=1, le=4_096, description="Longest user, item, event or session id, UTF-8 bytes.")
    max_future_seconds: float = Field(
        3_600.0, ge=0, le=31_536_000, description="How far an event time may lie ahead of the worker's clock."
    )
    dedup_window: int = Field(
        100_000, ge=0, le=10_000_000, description="Event ids remembered per partition to skip repetitions; 0: off."
    )


class EvidenceSettings(_Section):
    """What each type of event is worth to the model, and which types put an item among what the user already has."""

    view: float = Field(0.3, ge=-10, le=10, description="Weight of a view.")
    click: float = Field(0.5, ge=-10, le=10, description="Weight of a click.")
    cart: float = Field(0.8, ge=-10, le=10, description="Weight of a cart.")
    purchase: float = Field(1.0, ge=-10, le=10, description="Weight of a purchase.")
    like: float = Field(1.0, ge=-10, le=10, description="Weight of a like.")
    dislike: float = Field(-1.0, ge=-10, le=10, description="Weight of a dislike or return; below 0: evidence against.")
    rating: float = Field(1.0, ge=-10, le=10, description="Weight of a rating.")
    impression: float = Field(-0.02, ge=-10, le=10, description="Weight of an impression that was not clicked.")
    owned: tuple[EventType, ...] = Field(
        ("purchase", "like", "dislike", "rating"),
        description="After these the item leaves the user's lists; empty: people buy and read again.",
    )

    def weights(self) -> tuple[float, ...]:
        """Return the weight of each type, in the order of `EVENT_TYPES`."""
        return tuple(float(getattr(self, name)) for name in EVENT_TYPES)


class ModelSettings(_Section):
    """The model. What it means is in docs/model.md."""

    scorer: Literal["sequence", "transitions", "popularity", "mf"] = Field(
        "sequence", description="Which scorer makes the lists; transitions and popularity always run beside it."
    )
    k: int = Field(10, ge=1, le=1_000, description="Items in a list, and the k of the exported hit rate and NDCG.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model lives; auto: cuda if there.")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="Seed of everything that is drawn at random.")
    sub_step_events: int = Field(
        64, ge=1, le=512, description="Events of one optimizer step; evaluation takes 55 bytes x this x items."
    )
    history_length: int = Field(50, ge=2, le=1_000, description="Newest events remembered per user.")
    user_capacity: int = Field(
        1_000_000, ge=1_000, le=100_000_000, description="Most users with a state; the longest unseen ones leave."
    )
    item_capacity: int = Field(
        200_000, ge=100, le=10_000_000, description="Most items with a row; the longest unseen ones leave."
    )
    item_admission_events: int = Field(
        1, ge=1, le=1_000, description="Events of weight above 0 that an item needs for a row; 1: any one event."
    )
    item_ttl_seconds: float = Field(
        0.0, ge=0, le=3_153_600_000, description="Items without an event for this long in event time leave; 0: never."
    )
    item_floor: int = Field(100, ge=0, le=10_000_000, description="So many items stay, however long they are unseen.")
    user_ttl_seconds: float = Field(
        0.0, ge=0, le=3_153_600_000, description="Users without an event for this long in event time leave; 0: never."
    )
    effort: Literal["low", "normal", "high", "auto"] = Field(
        "normal", description="Training per event; auto: by the lag, less when it grows and more when there is none."
    )
    deterministic: bool = Field(
        False, description="On CUDA: kernels that give the same bits each time, slower. The CPU always does."
    )
    cpu_threads: int = Field(
        1, ge=0, le=256, description="Threads of torch on the CPU; 0: torch's own choice (slow when cores are shared)."
    )


class QualitySettings(_Section):
    """Live prequential quality and drift alarms."""

    window_events: int = Field(5_000, ge=10, le=10_000_000, description="Evaluated events in the sliding window.")
    drift_delta: float = Field(
        0.002, gt=0, lt=1, description="Confidence of ADWIN on the model's loss; smaller: fewer alarms."
    )


class MetricsSettings(_Section):
    """The port with the page, /metrics, /livez and /readyz."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to bind; 0.0.0.0 for all (then guard it).")
    port: int = Field(9464, ge=0, le=65_535, description="Port; 0: any free one, named in the log.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names the page may be opened by; localhost: all names of this machine. Empty: any, but on a port "
        "of this machine alone only its own.",
    )
    page: Literal["auto", "full", "numbers", "off"] = Field(
        "auto", description="What / shows: numbers alone, or full: also users; auto: full if host is this machine only."
    )


class ServeSettings(_Section):
    """The HTTP server `millstream serve`. What it promises is in docs/serving.md."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to bind; 0.0.0.0 for all (then set tokens_file).")
    port: int = Field(8080, ge=0, le=65_535, description="Port; 0: any free one, named in the log.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names it may be asked by without a token; localhost: all names of this machine. Empty: any, but "
        "on a port of this machine alone only its own.",
    )
    tokens_file: Path | None = Field(
        None, description="File of bearer tokens, one a line, read again when it changes. None: no token is asked for."
    )
    tls_certfile: Path | None = Field(None, description="Certificate chain (PEM), read again when it changes: HTTPS.")
    tls_keyfile: Path | None = Field(None, description="Key of the certificate (PEM).")
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call, such as https://shop.example.")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of proxies whose X-Forwarded-For is believed."
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024, le=104_857_600, description="Longest body of a request.")
    max_batch_events: int = Field(1_000, ge=1, le=100_000, description="Most events in one request.")
    requests_per_second: float = Field(
        0.0, ge=0, le=1_000_000, description="What one token, or without tokens one address, may ask; 0: no limit."
    )
    request_burst: int = Field(100, ge=1, le=1_000_000, description="Requests that may come at once after a pause.")
    ack_timeout_seconds: float = Field(
        10.0, ge=1, le=300, description="Longest wait for the brokers to acknowledge the events of a request."
    )
    max_stream_clients: int = Field(1_000, ge=0, le=100_000, description="Clients that follow a user at a time.")
    heartbeat_seconds: float = Field(15.0, ge=0.1, le=300, description="Silence after which a follower is greeted.")
    max_users: int = Field(
        1_000_000, ge=1, le=1_000_000_000, description="Most lists held in memory; the longest unchanged one leaves."
    )
    stale_after_seconds: float = Field(
        10.0,
        ge=1,
        le=86_400,
        description="Brokers silent for this long make /readyz answer 503; lists are still served.",
    )

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "ServeSettings":
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile, tls_keyfile: expected both or neither")
        return self


class LogSettings(_Section):
    """Logs go to standard error, one line a batch at most."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="Least severe level shown."
    )
    format: Literal["text", "json"] = Field("text", description="For people, or one JSON object per line.")


class Settings(_Section):
    """All settings of Millstream."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    batching: BatchingSettings = BatchingSettings()
    events: EventSettings = EventSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    model: ModelSettings = ModelSettings()
    quality: QualitySettings = QualitySettings()
    metrics: MetricsSettings = MetricsSettings()
    serve: ServeSettings = ServeSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _a_batch_fits_the_tables(self) -> "Settings":
        least = min(self.model.user_capacity, self.model.item_capacity)
        if self.batching.max_events > least:
            raise ValueError(
                f"batching.max_events: expected <= model.user_capacity and model.item_capacity ({least}), "
                f"got {self.batching.max_events}"
            )
        longest_list_bytes = self.model.k * (2 * self.events.max_id_bytes + _PLACE_BYTES)
        if longest_list_bytes > self.topics.max_message_bytes:
            raise ValueError(
                f"model.k: a list of {self.model.k} items with ids of events.max_id_bytes "
                f"({self.events.max_id_bytes}) can have {longest_list_bytes} bytes, more than "
                f"topics.max_message_bytes ({self.topics.max_message_bytes}): lower one of the first two or raise this"
            )
        return self
