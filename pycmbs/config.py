"""The broker's settings: each declared once, in :class:`Settings`; flags and the files in ``conf/`` follow from that.

A value comes from the first of these that has one: the flag, the environment variable ``PYCMBS_<NAME>``, the file in
the configuration directory, the default.
"""

from __future__ import annotations

import dataclasses
import logging
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycmbs.config_values import (
    DIRECTORY,
    FILE,
    HOST,
    JWT_ROLES,
    KEYS,
    KEYSTONE,
    LISTEN_AT,
    LOG_FILE,
    MEMBER,
    MODULES,
    NAMES,
    NETWORKS,
    ORIGINS,
    PUBLIC_URL,
    RULES,
    SOCKET,
    SOCKETS,
    STORE,
    TEXT,
    TOPICS,
    Setting,
    Value,
    one_of,
    seconds,
    whole,
)
from pycmbs.trust import with_password

SERVER_FILE = "occi_server.conf"
STORE_FILE = "couchdb_server.conf"
LOGGING_FILE = "OCCILogging.conf"
CONFIG_VARIABLE = "PYCMBS_CONFIG"

_log = logging.getLogger(__name__)

# Where a setting stands: file and section.
_SERVER = (SERVER_FILE, "server")
_TLS = (SERVER_FILE, "tls")
_MEMBER = (SERVER_FILE, "member")
_DELIVERY = (SERVER_FILE, "delivery")
_EXECUTION = (SERVER_FILE, "execution")
_ACCESS = (SERVER_FILE, "access")
_STORE = (STORE_FILE, "store")
_RETENTION = (STORE_FILE, "retention")
_LOGGING = (LOGGING_FILE, "logging")

# What each file is for: the first line of it.
FILES = {
    SERVER_FILE: "pyCMBS: where the broker listens, and how it delivers.",
    STORE_FILE: "pyCMBS: the store, where everything is kept that the broker accepted.",
    LOGGING_FILE: "pyCMBS: what is logged, and where.",
}


# ruff: noqa: RUF009 -- _setting is dataclasses.field, with what a setting has besides its default.
def _setting(place: tuple[str, str], default: str, value: Value, meaning: str, unit: str = "") -> Any:
    file, section = place
    declared = {"file": file, "section": section, "default": default, "value": value, "meaning": meaning, "unit": unit}
    return field(default_factory=lambda: value.parse(default), repr=not value.secret, metadata=declared)


@dataclass(frozen=True)
class Settings:
    """Every setting, parsed. ``Settings()`` has the defaults; :mod:`pycmbs.config_loading` is how the broker gets one."""

    home: Path = _setting(
        _SERVER, "~/.pycmbs", DIRECTORY,
        "The home of this broker: its database and runtime files. Two homes are two brokers.",
    )  # fmt: skip
    host: str = _setting(_SERVER, "127.0.0.1", HOST,
        "The address the HTTP server listens on. One that others can reach needs users, and TLS or plain_http.",
    )  # fmt: skip
    port: int = _setting(
        _SERVER, "8090", whole(0, 65535),
        "The TCP port the HTTP server listens on; 0 takes a free one and the start line says which.",
    )  # fmt: skip
    workers: int = _setting(
        _SERVER, "2", whole(1, 64),
        "How many front processes answer HTTP; one per processor core is a good number.", "processes",
    )  # fmt: skip
    names: str = _setting(
        _SERVER, "", NAMES,
        "What clients may call this broker in URLs besides loopback addresses, localhost, the host it listens on and that of "
        "public_url; a request for another host is answered with 421.",
    )  # fmt: skip
    origins: str = _setting(
        _SERVER, "", ORIGINS,
        "Other origins whose web pages may use this broker; a change asked for by a page of any other is answered with 403.",
    )  # fmt: skip
    public_url: str = _setting(
        _SERVER, "", PUBLIC_URL,
        "The scheme, host and port in the URLs of answers, where clients reach the broker through a proxy; empty: those that "
        "the client used.",
    )  # fmt: skip
    proxies: str = _setting(
        _SERVER, "", NETWORKS,
        "Proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed; those of others are ignored.",
    )  # fmt: skip
    max_body: int = _setting(
        _SERVER, "4194304", whole(1024, 1073741824),
        "The largest request body that is read; a larger one is answered with 413.", "bytes",
    )  # fmt: skip
    max_content: int = _setting(
        _SERVER, "1048576", whole(1024, 33554432),
        "The largest message_content, as JSON; a message with a larger one is answered with 413.", "bytes",
    )  # fmt: skip
    preload: str = _setting(
        _SERVER, "cmbs", one_of("cmbs", "none"),
        "Definitions that are registered at start: cmbs, the kinds member and message; none, an empty broker.",
    )  # fmt: skip
    tls_cert: str = _setting(
        _TLS, "", FILE,
        "The certificate of the HTTP server in PEM, followed by its intermediates; empty: no TLS. It is read "
        "again when it changes.",
    )  # fmt: skip
    tls_key: str = _setting(
        _TLS, "", FILE, "The key of tls_cert in PEM, without a passphrase; empty: it is in the same file.",
    )  # fmt: skip
    tls_client_ca: str = _setting(
        _TLS, "", FILE,
        "The certificate authorities, in PEM, that clients' certificates must come from; empty: clients are not asked for any.",
    )  # fmt: skip
    plain_http: str = _setting(
        _TLS, "off", one_of("on", "off"),
        "on: allow HTTP without TLS on an address that others can reach, where a proxy in front does TLS.",
    )  # fmt: skip
    neighbor_timeout: float = _setting(
        _MEMBER, "2", seconds(0.01, 600),
        "How long check_neighbors waits for one neighbour before it reports it as not reached.", "seconds",
    )  # fmt: skip
    probe_interval: float = _setting(
        _MEMBER, "5", seconds(0.05, 3600),
        "How often a member that is alive is probed; with over 50 members it is less often.", "seconds",
    )  # fmt: skip
    hops: int = _setting(
        _MEMBER, "8", whole(0, 64),
        "How many members may have passed on an envelope before this one does, for a sender that cannot reach the "
        "recipient itself; 0: this member passes nothing on.",
        "members",
    )  # fmt: skip
    most_members: int = _setting(
        _MEMBER, "1000", whole(1, 100000),
        "How many other members may be known; more are refused. Of a list of members that another one sends, no more entries "
        "than that are read.",
        "members",
    )  # fmt: skip
    member: str = _setting(
        _MEMBER, "", MEMBER,
        "The name of this broker's member; if there is none yet it is made, listening on all layers. Empty: a client makes it.",
    )  # fmt: skip
    listen: str = _setting(
        _MEMBER, "", SOCKET,
        "The member's socket for all layers. Empty: its sockets stay as they are; a new one has those of its definition.",
    )  # fmt: skip
    neighbor: str = _setting(
        _MEMBER, "", SOCKETS,
        "Sockets of other members, from which this one finds the whole federation; they are added to those it knows.",
    )  # fmt: skip
    topics: str = _setting(
        _MEMBER, "", TOPICS,
        "Topics that the member subscribes to; they are added to those it has.",
    )  # fmt: skip
    members: str = _setting(
        _MEMBER, "auto", one_of("auto", "open", "mixed", "closed"),
        "Which members are accepted. open: any that reaches a socket, unauthenticated; so sockets are at loopback addresses "
        "and local paths only. closed: only those let in by pycmbs invite, known by their keys; sockets are at any address. "
        "mixed: both, for the time of the change from one to the other: whoever has no keys yet is believed as with open, and "
        "those with keys come to the member's curve_sockets. "
        "auto: open.",
    )  # fmt: skip
    listen_at: str = _setting(
        _MEMBER, "", LISTEN_AT,
        "Where to bind a socket of the own member whose address others reach through NAT, a mapped port or a proxy: the "
        "address as the member's description has it, = and the address to bind.",
    )  # fmt: skip
    delivery_deadline: float = _setting(
        _DELIVERY, "3600", seconds(0.1, 31536000),
        "How long after sending an undelivered recipient expires, unless the message has its own deadline.", "seconds",
    )  # fmt: skip
    retry_first: float = _setting(
        _DELIVERY, "0.5", seconds(0.01, 3600),
        "The pause before the first retry of a delivery; it doubles with every further one.", "seconds",
    )  # fmt: skip
    retry_most: float = _setting(
        _DELIVERY, "30", seconds(0.01, 86400),
        "The longest pause between two retries of a delivery; at least retry_first.", "seconds",
    )  # fmt: skip
    window: int = _setting(
        _DELIVERY, "64", whole(1, 65536),
        "How many messages may be on their way to one recipient without its acknowledgement.", "messages",
    )  # fmt: skip
    outbox_bound: int = _setting(
        _DELIVERY, "1000000", whole(1, 1000000000),
        "How many deliveries may wait in the outbox; a send beyond that is answered with 503. One takes about 2 kB of disk.",
        "deliveries",
    )  # fmt: skip
    poll: float = _setting(
        _DELIVERY, "1", seconds(0.01, 60),
        "How often the engine looks into the outbox by itself, should a wake-up have been lost.", "seconds",
    )  # fmt: skip
    allow: str = _setting(
        _EXECUTION, "", RULES,
        "Which operations in messages of other members are executed here; empty: none. SENDER is a member's id, OPERATION "
        "is create, list, read, replace, update, delete, act:TERM or a handler's name, KIND the identifier or term of the "
        "target's kind (a handler has none); * stands for any.",
    )  # fmt: skip
    handlers: str = _setting(
        _EXECUTION, "", MODULES,
        "Python modules with handlers, which messages can call if allow lists them.",
    )  # fmt: skip
    authentication: str = _setting(
        _ACCESS, "auto", one_of("auto", "on", "off"),
        "Whether requests need credentials. auto: once there is a user, and always on an address that others can reach. "
        "off: never; for loopback addresses only.",
    )  # fmt: skip
    audit: str = _setting(
        _ACCESS, "changes", one_of("changes", "all", "off"),
        "Which requests audit.log in the home records. changes: those of known users that change something, and all that are "
        "refused; and what members have executed here that is more than reading. all: all. off: none.",
    )  # fmt: skip
    keystone_uri: str = _setting(
        _ACCESS, "", KEYSTONE,
        "The URL of the Keystone where clients without credentials are told to get a token; empty: they are asked for a "
        "password.",
    )  # fmt: skip
    jwt_issuer: str = _setting(
        _ACCESS, "", TEXT,
        "The issuer whose tokens (JWT) are accepted, as their iss has it; empty: none. It needs the settings below, and pip "
        "install 'pycmbs[jwt]'.",
    )  # fmt: skip
    jwt_audience: str = _setting(
        _ACCESS, "", TEXT, "The aud that names this broker in the issuer's tokens; tokens for others are refused.",
    )  # fmt: skip
    jwt_keys: str = _setting(
        _ACCESS, "", KEYS,
        "Where the issuer's public keys are: a JWK set, or keys or certificates in PEM. They sign by RS256, ES256 or EdDSA.",
    )  # fmt: skip
    jwt_claim: str = _setting(
        _ACCESS, "roles", TEXT,
        "The claim of a token that says what its subject may do: a list or words, also within objects (realm_access.roles).",
    )  # fmt: skip
    jwt_roles: str = _setting(
        _ACCESS, "", JWT_ROLES, "Which role each value of jwt_claim stands for; other values are ignored.",
    )  # fmt: skip
    store: str = _setting(
        _STORE, "sqlite:", STORE,
        "The store, as a URL; `sqlite:` alone is the embedded database pycmbs.db in the home. "
        "CouchDB's may end in ?timeout=SECONDS for one call (0.9).",
    )  # fmt: skip
    least_free: int = _setting(
        _STORE, "8388608", whole(0, 1073741824),
        "Space that is kept aside beside an SQLite store: on a full disk, deleting and settling may use it, and nothing new is "
        "taken in until there is room again. 0: none.",
        "bytes",
    )  # fmt: skip
    store_password_file: str = _setting(
        _STORE, "", FILE,
        "A file whose first line is the password of the user in the store's URL, which then has none. All users of the machine "
        "can see a password in a flag.",
    )  # fmt: skip
    retain_seconds: float = _setting(
        _RETENTION, "0", seconds(0, 3153600000),
        "How long a message is kept after it was settled: delivered to every recipient or given up, or received and, if it was "
        "to be, executed. Then it is removed, with its ledger and its links. 0: it is kept for ever.",
        "seconds",
    )  # fmt: skip
    retain_messages: int = _setting(
        _RETENTION, "0", whole(0, 1000000000),
        "How many settled messages are kept; beyond that, those settled longest are removed. 0: all.", "messages",
    )  # fmt: skip
    log_level: str = _setting(
        _LOGGING, "info", one_of("debug", "info", "warning", "error", "critical"),
        "The lowest level that is logged.",
    )  # fmt: skip
    log_file: str = _setting(
        _LOGGING, "", LOG_FILE, "The file that log lines are appended to; empty: standard error.",
    )  # fmt: skip
    log_format: str = _setting(
        _LOGGING, "text", one_of("text", "json"),
        "How a log line is written: as text, or as a JSON object with time, level, process, pid, logger, msg, and where they "
        "are known request_id, trace_id, message, member, layer.",
    )  # fmt: skip
    access_log: str = _setting(
        _LOGGING, "errors", one_of("off", "errors", "all"),
        "Which HTTP requests are logged, with what came of them: none, those that are answered with an error, or all.",
    )  # fmt: skip

    @property
    def run_dir(self) -> Path:
        """Where the runtime files are: local sockets and ``broker.json``."""
        return self.home / "run"

    @property
    def processes_file(self) -> Path:
        """``broker.json``: who and where the broker's processes are, which the supervisor writes for tools."""
        return self.run_dir / "broker.json"

    def store_url(self) -> str:
        """The store's URL with its password. Raises ConfigurationError if the file with the password cannot be read."""
        return with_password(self.store, self.store_password_file)

    @property
    def url(self) -> str:
        """The HTTP root, such as ``http://host:port/``; meaningful once a port 0 is resolved."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}/"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data, to be handed to a child process."""
        return {setting.name: str(getattr(self, setting.name)) for setting in SETTINGS}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        """What :meth:`to_json` described. Raises KeyError or ValueError when it did not."""
        return cls(**{setting.name: setting.value.parse(str(document[setting.name])) for setting in SETTINGS})


SETTINGS = tuple(Setting(name=item.name, **item.metadata) for item in dataclasses.fields(Settings))


_COMMENT: dict[str, Any] = {"width": 110, "initial_indent": "# ", "subsequent_indent": "#   "}


def render_conf(file: str) -> str:
    """The text of the shipped configuration file ``file``: every setting of it, commented out, at its default."""
    lines = [
        f"# {FILES[file]}",
        "# Each setting stands here with its default: to change one, remove the `# ` before its name.",
        "# A flag wins over the environment variable, and that over this file.",
        f"# Read from the directory that --config or {CONFIG_VARIABLE} names; without either from ./conf.",
    ]
    section = ""
    for setting in (item for item in SETTINGS if item.file == file):
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        unit = f" Unit: {setting.unit}." if setting.unit else ""
        lines += [
            "",
            *textwrap.wrap(setting.meaning, **_COMMENT),
            *textwrap.wrap(f"Allowed: {setting.value.allowed}.{unit}", **_COMMENT),
            f"# Environment: {setting.variable}. Flag: {setting.flag}.",
            f"# {setting.name} = {setting.default}".rstrip(),
        ]
    return "\n".join(lines) + "\n"
