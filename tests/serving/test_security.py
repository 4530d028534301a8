"""TLS, client certificates and tokens, over gRPC and REST."""

import datetime
import http.client
import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.client import Classifier, PermissionDenied, Security, ServerUnavailable
from serving.errors import StartError
from serving.flags import parse
from serving.local import LocalServer
from serving.server import ModelServer
from tests.serving.samples import COLOURS, MODEL

TOKEN = "open sesame"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._sign("ca", self._key.public_key(), authority=True)
        self.cert = self._write("ca.pem", self._cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(name, key.public_key(), authority=False)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Pair(
            self._write(f"{name}.pem", cert.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", private),
        )

    def _sign(self, name: str, public_key: ec.EllipticCurvePublicKey, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def secured(base_path: Path, authority: Authority, tmp_path_factory) -> Iterator[LocalServer]:
    """A server that wants a client certificate over gRPC, and a token everywhere."""
    folder = tmp_path_factory.mktemp("secured")
    pair = authority.issue("server")
    fields = {"server_key": pair.key, "server_cert": pair.cert, "custom_ca": authority.cert}
    lines = [f"{name}: {json.dumps(path.read_text())}" for name, path in fields.items()]
    (folder / "ssl.config").write_text("\n".join([*lines, "client_verify: true"]), encoding="utf-8")
    (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    flags = [f"--ssl_config_file={folder / 'ssl.config'}", f"--token_file={folder / 'token'}"]
    with LocalServer(base_path, MODEL, rest_api_port=0, flags=flags) as server:
        yield server


def test_a_client_with_certificate_and_token_is_served(secured: LocalServer, authority: Authority):
    pair = authority.issue("client")
    security = Security(ca=authority.cert, cert=pair.cert, key=pair.key, token=TOKEN)
    with Classifier(secured.address, MODEL, security=security) as classifier:
        classifier.wait_until_ready(10)
        assert classifier.classify(COLOURS["green"]).label == "green"


def test_a_wrong_token_is_refused(secured: LocalServer, authority: Authority):
    pair = authority.issue("client")
    for token in ("open barley", None):
        security = Security(ca=authority.cert, cert=pair.cert, key=pair.key, token=token)
        with (
            Classifier(secured.address, MODEL, security=security) as classifier,
            pytest.raises(PermissionDenied, match="check the token"),
        ):
            classifier.classify(COLOURS["green"])


def test_without_a_certificate_there_is_no_connection(secured: LocalServer, authority: Authority, tmp_path):
    stranger = Authority(tmp_path).issue("stranger")
    for security in (
        Security(ca=authority.cert, token=TOKEN),
        Security(ca=authority.cert, cert=stranger.cert, key=stranger.key, token=TOKEN),
        Security(token=TOKEN),
    ):
        with (
            Classifier(secured.address, MODEL, security=security, retries=0) as classifier,
            pytest.raises(ServerUnavailable, match=secured.address),
        ):
            classifier.classify(COLOURS["green"])


def test_a_server_with_another_certificate_is_not_trusted(secured: LocalServer, tmp_path: Path):
    other = Authority(tmp_path)
    pair = other.issue("client")
    security = Security(ca=other.cert, cert=pair.cert, key=pair.key, token=TOKEN)
    with (
        Classifier(secured.address, MODEL, security=security, retries=0) as classifier,
        pytest.raises(ServerUnavailable, match="check certificates"),
    ):
        classifier.classify(COLOURS["green"])


def test_rest_wants_the_token(secured: LocalServer):
    connection = http.client.HTTPConnection(secured.rest_address, timeout=20)
    codes = []
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer x"}, {}):
        connection.request("GET", f"/v1/models/{MODEL}", headers=headers)
        response = connection.getresponse()
        response.read()
        codes.append(response.status)
    assert codes == [200, 401, 401]


def test_a_token_does_not_travel_in_the_clear():
    with pytest.raises(ValueError, match="unencrypted"):
        Classifier("models.example:8500", MODEL, security=Security(token=TOKEN))


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("ssl_config_file", "server_key: 'x'", "server_cert"),
        ("ssl_config_file", "server_kex: 'x'", "server_kex"),
        ("ssl_config_file", "server_key: 'x' server_cert: 'y' client_verify: true", "custom_ca"),
        ("token_file", " \n", "empty"),
        ("monitoring_config_file", "prometheus_config { on: true }", "on"),
    ],
)
def test_bad_files_are_told_at_the_start(base_path: Path, tmp_path: Path, flag: str, text: str, message: str):
    file = tmp_path / "file"
    file.write_text(text, encoding="utf-8")
    options = parse([f"--model_base_path={base_path}", "--port=0", "--rest_api_port=0", f"--{flag}={file}"])
    with pytest.raises(StartError, match=message) as caught:
        ModelServer(options)
    assert str(file) in str(caught.value)
