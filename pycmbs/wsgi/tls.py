"""TLS without I/O, for any event loop (ADR 43).

:class:`Certificates` is what the broker shows of itself, as new as its files; :class:`Session` is one connection.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pycmbs.errors import ConfigurationError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Between looks whether the files of the certificates have changed."""
_RECORD = 16_384
"""Bytes that a record holds at most: more is not to be had at once."""
_READABLE_BY_ALL = 0o004
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = b"ENCRYPTED"
_REASONS = {
    "KEY_VALUES_MISMATCH": "it does not belong to the certificate",
    "EE_KEY_TOO_SMALL": "the certificate's key is too short",
    "CA_MD_TOO_WEAK": "the certificate is signed with too weak a digest",
}


class Certificates:
    """The broker's certificate and key, and the authorities of its clients' certificates."""

    def __init__(self, cert: str, key: str = "", client_ca: str = "") -> None:
        """Paths of files in PEM: the certificate, with the chain that leads to its authority; its key, if it is not in the same
        file; and the authorities whose clients' certificates are believed, if any are.

        Raises ConfigurationError for files that cannot be used."""
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._wanted = False
        self._stamp = self._look()
        self.context = self._load()
        """For new connections. Those that are open keep the one they began with."""
        self._warn()

    @classmethod
    def of(cls, cert: str, key: str, client_ca: str) -> Certificates | None:
        """Those that the settings ``tls_cert``, ``tls_key`` and ``tls_client_ca`` name; None where there is to be no TLS.

        Raises ConfigurationError."""
        if cert:
            return cls(cert, key, client_ca)
        for name, value in (("tls_key", key), ("tls_client_ca", client_ca)):
            if value:
                raise ConfigurationError(
                    f"{name} is for TLS, and there is no tls_cert: name the certificate with --tls-cert"
                )
        return None

    def reload(self) -> None:
        """Have the files read again at the next :meth:`refresh`. To be called by a handler of a signal."""
        self._wanted = True

    def refresh(self) -> bool:
        """Take the files if they have changed; whether they were taken. Where they cannot be used, the old ones stay."""
        stamp = self._look()
        if stamp == self._stamp and not self._wanted:
            return False
        self._stamp, self._wanted = stamp, False
        try:
            self.context = self._load()
        except ConfigurationError as exc:
            log.error("the new certificate is refused, and the old one stays in use: %s", exc.message)  # noqa: TRY400 - no fault of ours
            return False
        log.info("the certificate was read again from %s", self._cert)
        self._warn()
        return True

    def keep_fresh(self, sleep: Callable[[float], object]) -> None:
        """For ever: a :meth:`refresh` a second."""
        while True:
            sleep(_LOOK_SECONDS)
            try:
                self.refresh()
            except Exception:
                log.exception("the certificate cannot be looked at; it is tried again")

    def _look(self) -> list[tuple[int, ...]]:
        """What is different once a file is another one."""
        found: list[tuple[int, ...]] = []
        for path in (self._cert, self._key, self._client_ca):
            try:
                status = Path(path or self._cert).stat()
                found.append((status.st_mtime_ns, status.st_ino, status.st_dev, status.st_size))
            except OSError as exc:
                found.append((exc.errno or 0,))
        return found

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        # Resumed sessions would be let in by a certificate that is no longer believed, and another front cannot resume them.
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        _read("tls_cert", self._cert, _CERTIFICATE, "certificate")
        key = ("tls_key", self._key) if self._key else ("tls_cert", self._cert)
        if _ENCRYPTED in _read(*key, _KEY, "key"):
            raise ConfigurationError(f"the key in {key[1]} has a passphrase, which the broker cannot ask for")
        with _told(*key):
            context.load_cert_chain(self._cert, self._key or None, password=lambda: "")
        if self._client_ca:
            _read("tls_client_ca", self._client_ca, _CERTIFICATE, "certificate")
            with _told("tls_client_ca", self._client_ca):
                context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _warn(self) -> None:
        with contextlib.suppress(OSError):
            path = self._key or self._cert
            if Path(path).stat().st_mode & _READABLE_BY_ALL:
                log.warning("all users of this machine can read the key in %s: chmod 600 it", path)


def _read(setting: str, path: str, sign: bytes, what: str) -> bytes:
    with _told(setting, path):
        data = Path(path).read_bytes()
    if sign not in data:
        raise ConfigurationError(f"{setting} {path} cannot be used: there is no {what} in PEM in it")
    return data


@contextlib.contextmanager
def _told(setting: str, path: str) -> Iterator[None]:
    """Errors of what is done within, as sentences."""
    try:
        yield
    except ssl.SSLError as exc:
        why = _REASONS.get(exc.reason or "", "it is damaged")
        raise ConfigurationError(f"{setting} {path} cannot be used: {why}") from None
    except OSError as exc:
        raise ConfigurationError(f"{setting} {path} cannot be read: {exc.strerror}") from None


class Session:
    """The server's side of one connection. Bytes of the client go in by :meth:`shake` until :attr:`ready`, and then by
    :meth:`arrived`; what is for the client is to be had from :meth:`outgoing` after every call, also after one that failed.

    All raise ``ssl.SSLError``, which is an OSError, when the client does not speak TLS, or not as it must."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.ready = False
        """Whether the handshake is over."""
        self.ended = False
        """Whether the client said that nothing follows."""

    def shake(self, data: bytes) -> None:
        """Go on with the handshake."""
        self._in.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self.ready = True

    def arrived(self, data: bytes) -> bytes:
        """What the bytes complete of what the client says; it may be nothing yet."""
        self._in.write(data)
        pieces: list[bytes] = []
        # What is in no whole record stays in there; so does nothing else: who waits for the socket misses nothing.
        while not self.ended:
            try:
                piece = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            self.ended = not piece
            pieces.append(piece)
            if len(piece) < _RECORD and not self._in.pending:  # the whole of the last record
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def wrapped(self, data: bytes | memoryview) -> bytes:
        """What to send to say this."""
        self._tls.write(data)
        return self._out.read()

    def outgoing(self) -> bytes:
        """What is to be sent besides: the handshake, alerts, new keys."""
        return self._out.read() if self._out.pending else b""

    def farewell(self) -> bytes:
        """What to send to say that nothing follows. Nothing else may be called after it."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        return self._out.read()

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The client's, if it showed one that is believed."""
        return self._tls.getpeercert() or None
