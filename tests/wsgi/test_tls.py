"""TLS between bytes and bytes, and the files that it stands on."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pycmbs.errors import ConfigurationError
from pycmbs.wsgi.tls import Certificates, Session
from tests.certificates import Authority, pem_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates are believed here."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> tuple[str, str]:
    """A certificate and its key."""
    cert, key = authority.issue("server")
    return str(cert), str(key)


class Client:
    """The other side of a session, whose bytes arrive as they are told."""

    def __init__(self, authority: Authority, cert: tuple[Path, Path] | None = None) -> None:
        context = ssl.create_default_context(cafile=str(authority.cert))
        if cert:
            context.load_cert_chain(*cert)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_hostname="localhost")

    def shake(self, session: Session) -> None:
        """The whole handshake."""
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            data = self.out.read()
            if session.ready:
                session.arrived(data)
            else:
                session.shake(data)
            self.into.write(session.outgoing())
        assert session.ready

    def said(self, *pieces: bytes) -> bytes:
        """The records of these."""
        for piece in pieces:
            self.tls.write(piece)
        return self.out.read()


@settings(deadline=None, max_examples=60)
@given(
    said=st.lists(st.binary(min_size=1, max_size=50_000), max_size=6), cuts=st.lists(st.integers(1, 20_000), min_size=1)
)
def test_records_arrive_in_any_pieces(authority, files, said, cuts):
    """What was said is what arrives, in order and as soon as its record is whole, wherever the bytes are cut."""
    session, client = Session(Certificates(*files).context), Client(authority)
    client.shake(session)
    data, found, turn = client.said(*said), b"", 0
    while data:
        size = cuts[turn % len(cuts)]
        found += session.arrived(data[:size])
        data, turn = data[size:], turn + 1
    assert found == b"".join(said)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 600), st.booleans())
def test_a_broken_handshake_is_an_ssl_error(authority, files, junk, at, inserted):
    """Whatever stands where in the client's first bytes: the handshake goes on, waits, or fails by an error of TLS."""
    session, client = Session(Certificates(*files).context), Client(authority)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.out.read()
    with contextlib.suppress(ssl.SSLError):
        session.shake(hello[:at] + junk + hello[at if inserted else at + len(junk) :])
    session.outgoing()
    session.farewell()


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_a_broken_record_is_an_ssl_error(authority, files, junk, at):
    """The same after the handshake."""
    session, client = Session(Certificates(*files).context), Client(authority)
    client.shake(session)
    data = client.said(b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n\r\n")
    with contextlib.suppress(ssl.SSLError):
        assert session.arrived(data[:at] + junk + data[at:]) in (
            b"",
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
    session.outgoing()
    session.farewell()


def test_an_end_is_an_end(authority, files):
    """What stands before the client's last word arrives, and nothing after it is looked at."""
    session, client = Session(Certificates(*files).context), Client(authority)
    client.shake(session)
    data = client.said(b"last")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert session.arrived(data + client.out.read() + b"what is no record") == b"last"
    assert session.ended


def test_who_shows_a_certificate_is_known_by_it(authority, files, tmp_path):
    """One of the authority's is there to be read; a stranger's ends the handshake; none is no fault."""
    mine = authority.issue("mine", "CN=ci,O=Example", client=True)
    certificates = Certificates(*files, str(authority.cert))
    session, client = Session(certificates.context), Client(authority, mine)
    client.shake(session)
    assert session.certificate["subject"] == ((("commonName", "ci"),), (("organizationName", "Example"),))
    session = Session(certificates.context)
    Client(authority).shake(session)
    assert session.certificate is None
    for stranger in (Authority(tmp_path, "Others").issue("x", client=True), authority.issue("server2")):
        with pytest.raises(ssl.SSLError):
            Client(authority, stranger).shake(Session(certificates.context))


def test_files_that_cannot_be_used_are_a_sentence(authority, files, tmp_path):
    """It names the setting and the file, and what is wrong."""
    cert, key = files
    empty, secret, both = tmp_path / "empty", tmp_path / "secret", tmp_path / "both"
    empty.touch()
    secret.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()), b"passphrase"))
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    damaged = tmp_path / "damaged"
    damaged.write_text(Path(cert).read_text().replace("MII", "AAA"))
    for given_, sentence in {
        (str(tmp_path / "none"), key): f"tls_cert {tmp_path}/none cannot be read: No such file or directory",
        (cert, str(tmp_path)): f"tls_key {tmp_path} cannot be read: Is a directory",
        (cert, str(empty)): f"tls_key {empty} cannot be used: there is no key in PEM in it",
        (cert, ""): f"tls_cert {cert} cannot be used: there is no key in PEM in it",
        (key, key): f"tls_cert {key} cannot be used: there is no certificate in PEM in it",
        (cert, str(secret)): f"the key in {secret} has a passphrase, which the broker cannot ask for",
        (cert, str(authority.issue("else")[1])): "it does not belong to the certificate",
        (str(damaged), key): "it is damaged",
        (cert, key, str(empty)): f"tls_client_ca {empty} cannot be used: there is no certificate in PEM in it",
    }.items():
        with pytest.raises(ConfigurationError) as raised:
            Certificates(*given_)
        assert sentence in raised.value.message
    assert Certificates(str(both)).context
    assert Certificates.of("", "", "") is None
    for given_ in (("", key, ""), ("", "", cert)):
        with pytest.raises(ConfigurationError, match="there is no tls_cert"):
            Certificates.of(*given_)


def test_a_key_that_all_may_read_is_told_of(authority, caplog):
    """It is taken all the same."""
    cert, key = authority.issue("open")
    Certificates(str(cert), str(key))
    assert not caplog.text
    key.chmod(0o644)
    Certificates(str(cert), str(key))
    assert f"all users of this machine can read the key in {key}" in caplog.text
