"""Certificates for the tests, made as they are needed."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}


class Authority:
    """Signs certificates. Files are written in ``folder``."""

    def __init__(self, folder: Path, name: str = "Tests") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(f"CN={name}")
        certificate = self._signed(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.cert = folder / f"{name}-ca.pem"
        self.cert.write_bytes(_pem(certificate))

    def issue(
        self, name: str, subject: str = "CN=localhost", *, days: int = 2, client: bool = False
    ) -> tuple[Path, Path]:
        """The files of a certificate for 127.0.0.1, ::1 and localhost, or for a client, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        addresses = [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
        extensions = [x509.ExtendedKeyUsage([use])] if client else [x509.ExtendedKeyUsage([use]), names]
        certificate = self._signed(_subject(subject), key.public_key(), *extensions, days=days)
        cert, kept = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        cert.write_bytes(_pem(certificate))
        kept.write_bytes(pem_of(key))
        kept.chmod(0o600)
        return cert, kept

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType, days: int = 2
    ):
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(days=3),
            not_valid_after=now + dt.timedelta(days=days),
        )
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for one in (*extensions, x509.SubjectKeyIdentifier.from_public_key(key), identifier):
            builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


def pem_of(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """A private key as a file has it."""
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _subject(text: str) -> x509.Name:
    pairs = (one.split("=") for one in text.split(","))
    return x509.Name([x509.NameAttribute(_NAMES[key], value) for key, value in pairs])
