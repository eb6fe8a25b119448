"""Tokens of an issuer: which are believed, and what happens to its keys."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import http.server
import json
import threading
import time
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pycmbs.errors import ConfigurationError, Unauthenticated, Unavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.wsgi import jwt_keys
from pycmbs.wsgi.jwt import WebTokens
from tests.wsgi.conftest import Front

ISSUER, AUDIENCE = "https://id.example", "cmbs"
ROLES = "cmbs-admins=admin; Domain Users=publisher; ops=operator"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = rsa.generate_private_key(65537, 2048)


def encoded(data):
    """Base64 as tokens have it."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(data, key):
    """A signature over these bytes, made without the library that checks it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if isinstance(key, bytes):
        return hmac.digest(key, data, "sha256")
    return key.sign(data) if key else b""


def token(key=RSA, algorithm="RS256", header=None, **claims):
    """A token that is good but for what is said."""
    now = time.time()
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": now + 60,
        "iat": now,
        "roles": ["cmbs-admins"],
        **claims,
    }
    head = encoded({"alg": algorithm, "typ": "JWT", **(header or {})})
    data = f"{head}.{encoded({name: value for name, value in said.items() if value is not None})}"
    return f"{data}.{encoded(signed(data.encode(), key))}"


def pem(key):
    """The public key."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def number(value):
    """As a JWK has it."""
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def jwk(key, **members):
    """The public key of RSA as a JWK."""
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **members}


@pytest.fixture
def keys(tmp_path):
    """The file with the issuer's keys, in PEM."""
    path = tmp_path / "keys.pem"
    path.write_bytes(pem(RSA) + pem(EC) + pem(ED))
    return path


def tokens(where, **changed):
    """What checks tokens."""
    given = {"issuer": ISSUER, "audience": AUDIENCE, "claim": "roles", "roles": ROLES, **changed}
    return WebTokens.of(ThreadRuntime(), keys=str(where), **given)


def asked(checker, text):
    """Who a token says that its bearer is."""
    return checker.authenticate({"HTTP_AUTHORIZATION": f"Bearer {text}"})


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_a_good_token_says_who_it_is(keys, key, algorithm):
    """In either field; the roles are those that its claim stands for, and it counts until it expires."""
    checker = tokens(keys)
    text = token(key, algorithm, roles=["Domain Users", "something", "ops", "ops", 7], exp=time.time() + 30)
    for environ in ({"HTTP_AUTHORIZATION": f"bearer {text}"}, {"HTTP_X_AUTH_TOKEN": text}):
        found = checker.authenticate(environ)
        assert (found.name, found.roles, found.via) == ("alice", ("publisher", "operator"), "jwt")
        assert abs(found.until - time.time() - 30) < 5
    assert checker.authenticate({}) is None
    assert checker.authenticate({"HTTP_AUTHORIZATION": "Basic YTpi"}) is None
    assert checker.authenticate({"HTTP_X_AUTH_TOKEN": "cmbs_ours"}) is None


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({"roles": None}, ()),
        ({"roles": "ops cmbs-admins"}, ("operator", "admin")),
        ({"roles": {"ops": True}}, ()),
        ({"roles": ["admin"]}, ()),
        ({"roles": [["ops"]]}, ()),
    ],
)
def test_roles_are_those_of_the_map(keys, claims, roles):
    """A value that the broker's own settings do not know gives nothing, though it is called like a role."""
    assert asked(tokens(keys), token(**claims)).roles == roles


def test_a_claim_may_be_in_an_object(keys):
    """Or have dots and slashes in its name."""
    said = {"roles": None, "realm_access": {"roles": ["ops"]}, "https://x.example/roles": ["cmbs-admins"]}
    assert asked(tokens(keys, claim="realm_access.roles"), token(**said)).roles == ("operator",)
    assert asked(tokens(keys, claim="https://x.example/roles"), token(**said)).roles == ("admin",)
    assert asked(tokens(keys, claim="a.b.c"), token(**said)).roles == ()


NOW = time.time()
LIST = f"{encoded({'alg': 'RS256'})}.{encoded([1])}"
BAD = {
    "audience": token(aud="others"),
    "no audience": token(aud=None),
    "audiences": token(aud=["others", "more"]),
    "part of the audience": token(aud="cmbs2"),
    "audience object": token(aud={"cmbs": 1}),
    "issuer": token(iss="https://id.example.evil"),
    "no issuer": token(iss=None),
    "expired": token(exp=NOW - 1),
    "no expiry": token(exp=None),
    "expiry text": token(exp="9999999999"),
    "expiry true": token(exp=True),
    "expiry infinite": token(exp=float("inf")),
    "not yet": token(nbf=NOW + 3600),
    "no subject": token(sub=None),
    "odd subject": token(sub="a b\n"),
    "long subject": token(sub="a" * 129),
    "none": token(None, "none"),
    "None": token(None, "None"),
    "no algorithm": token(algorithm=None),
    "algorithm list": token(algorithm=["RS256"]),
    "public key as secret": token(pem(RSA), "HS256"),
    "public key as secret, said to be RS256": token(pem(RSA), "RS256"),
    "another algorithm": token(RSA, "RS512"),
    "other key": token(OTHER),
    "key of another kind": token(EC, "RS256"),
    "own key in the header": token(OTHER, header={"jwk": jwk(OTHER)}),
    "own keys by URL": token(OTHER, header={"jku": "https://evil.example/keys"}),
    "critical": token(header={"crit": ["x"], "x": 1}),
    "kid no text": token(header={"kid": 1}),
    "two parts": token().rpartition(".")[0],
    "four parts": token() + ".x",
    "no signature": token().rpartition(".")[0] + ".",
    "claims changed": token().split(".")[0] + "." + token(sub="bob").split(".")[1] + "." + token().split(".")[2],
    "claims a list": f"{LIST}.{encoded(signed(LIST.encode(), RSA))}",
    "nothing": "",
    "dots": "..",
    "text": "hello",
    "bytes": "\xff\xfe.\x80.x",
    "deep": encoded(b"[" * 5000) + ".x.x",
    "encrypted": "a.b.c.d.e",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_bad_token_is_refused(keys, text):
    """Each is a 401, whatever is wrong with it."""
    with pytest.raises(Unauthenticated):
        asked(tokens(keys), text)


def test_an_audience_may_be_one_of_many(keys):
    """RFC 7519 4.1.3."""
    assert asked(tokens(keys), token(aud=["others", AUDIENCE])).name == "alice"


def test_keys_are_found_by_their_id(tmp_path):
    """In a JWK set the id says which; odd entries and keys for other uses are passed over."""
    path = tmp_path / "keys.json"
    odd = [7, {"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, {"kty": "RSA", "kid": "x"}, jwk(OTHER, kid="e", use="enc")]
    path.write_text(json.dumps({"keys": [*odd, jwk(OTHER, kid="1"), jwk(RSA, kid="2", use="sig", alg="RS256")]}))
    checker = tokens(path)
    assert asked(checker, token(header={"kid": "2"})).name == "alice"
    assert asked(checker, token()).name == "alice"
    for text in (token(header={"kid": "1"}), token(header={"kid": "3"}), token(OTHER, header={"kid": "2"})):
        with pytest.raises(Unauthenticated):
            asked(checker, text)


def test_a_certificate_is_a_key(tmp_path):
    """Some issuers publish those."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, RSA.public_key(), 1, now, now + dt.timedelta(days=1))
    path = tmp_path / "cert.pem"
    path.write_bytes(builder.sign(RSA, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    assert asked(tokens(path), token()).name == "alice"


def test_new_keys_are_taken_and_broken_ones_are_not(keys, monkeypatch, caplog):
    """A file is looked at again; what was good stays where the new one cannot be read."""
    monkeypatch.setattr(jwt_keys, "_FRESH_SECONDS", {False: 0, True: 0})
    monkeypatch.setattr(jwt_keys, "_AGAIN_SECONDS", 0)
    checker = tokens(keys)
    asked(checker, token())
    keys.write_bytes(b"{ no keys")
    assert asked(checker, token()).name == "alice"
    assert "the keys of tokens cannot be read" in caplog.text
    keys.unlink()
    assert asked(checker, token()).name == "alice"
    keys.write_bytes(pem(OTHER))
    assert asked(checker, token(OTHER)).name == "alice"
    with pytest.raises(Unauthenticated):
        asked(checker, token())


def test_without_keys_nobody_can_be_known(tmp_path):
    """That is a 503: it is not the client's fault."""
    checker = tokens(tmp_path / "none")
    with pytest.raises(Unavailable):
        asked(checker, token())


@pytest.fixture
def issuer():
    """A server with keys, or something else: ``answer`` gives status, headers and pieces."""
    server = types.SimpleNamespace(
        asked=0, answer=lambda: (200, {}, [json.dumps({"keys": [jwk(RSA, kid="a")]}).encode()])
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked += 1
            status, headers, pieces = server.answer()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{web.server_port}/keys"
        yield server
        web.shutdown()
        thread.join()


def test_keys_at_a_url_are_fetched_when_they_are_needed(issuer, monkeypatch):
    """Once for many tokens; again for a key that is not known, but not for each token that names one."""
    checker = tokens(issuer.url)
    for _ in range(5):
        assert asked(checker, token(header={"kid": "a"})).name == "alice"
    assert issuer.asked == 1
    for number_ in range(20):
        with pytest.raises(Unauthenticated):
            asked(checker, token(OTHER, header={"kid": f"unknown {number_}"}))
    assert issuer.asked == 1
    monkeypatch.setattr(jwt_keys, "_AGAIN_SECONDS", 0)
    issuer.answer = lambda: (200, {}, [json.dumps({"keys": [jwk(OTHER, kid="b")]}).encode()])
    assert asked(checker, token(OTHER, header={"kid": "b"})).name == "alice"
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, [b"{}"]),
        (200, {}, [b"<html>"]),
        (200, {}, [b'{"keys": 7}']),
        (200, {}, [b"[" * 100_000]),
        (200, {}, [b'{"a":' * 100_000]),
        (200, {}, [b"\xff"]),
        (302, {"Location": "http://127.0.0.1:1/"}, []),
        (200, {}, [b" " * 2_000_000]),
    ],
    ids=["500", "html", "no list", "list", "deep", "bytes", "elsewhere", "large"],
)
def test_what_is_fetched_and_is_no_key_changes_nothing(issuer, monkeypatch, answer):
    """The last good keys stay."""
    monkeypatch.setattr(jwt_keys, "_AGAIN_SECONDS", 0)
    checker = tokens(issuer.url)
    asked(checker, token(header={"kid": "a"}))
    issuer.answer = lambda: answer
    with pytest.raises(Unauthenticated):
        asked(checker, token(header={"kid": "b"}))
    assert issuer.asked == 2
    assert asked(checker, token(header={"kid": "a"})).name == "alice"


def test_an_issuer_that_drips_is_given_up(issuer):
    """All of its answer has the time, and not each piece."""

    def drip():
        for _ in range(1000):
            time.sleep(0.02)
            yield b" "

    issuer.answer = lambda: (200, {}, drip())
    began = time.monotonic()
    with pytest.raises(OSError, match="longer than"):
        jwt_keys.fetch(issuer.url, seconds=0.2)
    assert time.monotonic() - began < 10


def test_settings_go_together(keys):
    """One that is missing is named."""
    with pytest.raises(ConfigurationError, match="and there is no jwt_audience and no jwt_roles"):
        tokens(keys, audience="", roles="")
    assert tokens("", issuer="", audience="", roles="") is None


def test_a_broker_with_an_issuer_wants_to_know_who_asks(keys, tmp_path):
    """Though its users' file is empty; a token of the issuer lets in, with what its role may do."""
    front = Front(
        home=tmp_path, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_keys=str(keys), jwt_claim="roles", jwt_roles=ROLES
    )
    assert front.request("GET", "/-/").status_code == 401
    assert front.request("GET", "/-/", Authorization=f"Bearer {token()}").status_code == 200
    for text in (BAD["none"], BAD["public key as secret"], BAD["expired"], BAD["audience"], BAD["issuer"]):
        answer = front.request("GET", "/-/", Authorization=f"Bearer {text}")
        assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthenticated")
