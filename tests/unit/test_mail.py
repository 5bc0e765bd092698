"""Mail to a real SMTP server: encrypted where it can be, and each refusal told apart."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moorage.control.mail import SmtpServer


class Box:
    """Takes mails, unless their recipient says otherwise: `550@x` is refused for good, `451@x` for now."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bool]] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address[0].isdigit():
            return f"{address.partition('@')[0]} not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken += [(recipient, session.ssl is not None) for recipient in envelope.rcpt_tos]
        return "554 no spam" if envelope.rcpt_tos[0].startswith("spam") else "250 OK"


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context of a certificate that clients of this test trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - hour).not_valid_after(now + hour)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public, private = tmp_path / "c.pem", tmp_path / "k.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context


@contextmanager
def listening(box: Box, **options: Any) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    controller = Controller(box, "127.0.0.1", port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def letter() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "news"
    message.set_content("all is well")
    return message


def send(port: int, *recipients: str, scheme: str = "smtp", login: str = "") -> Any:
    server = SmtpServer.of(f"{scheme}://{login}127.0.0.1:{port}")
    return server.send("moorage@example.com", [(one, letter()) for one in recipients])


def test_each_recipient_gets_a_mail_and_refusals_are_told_apart() -> None:
    box = Box()
    with listening(box) as port:
        delivery = send(port, "ann@x", "550@x", "451@x", "spam@x", "bob@x")
    assert delivery.delivered == ["ann@x", "bob@x"]
    assert delivery.refused == {"550@x": "550 not here", "spam@x": "554 no spam"}
    assert delivery.deferred == {"451@x": "451 not here"}
    assert [recipient for recipient, _ in box.taken] == ["ann@x", "spam@x", "bob@x"]


def test_starttls_is_used_as_soon_as_it_is_offered(tls: ssl.SSLContext) -> None:
    box = Box()
    with listening(box, tls_context=tls, require_starttls=True) as port:
        assert send(port, "ann@x").delivered == ["ann@x"]
    assert box.taken == [("ann@x", True)]


def test_smtps_is_encrypted_from_the_start(tls: ssl.SSLContext) -> None:
    box = Box()
    with listening(box, ssl_context=tls) as port:
        assert send(port, "ann@x", scheme="smtps").delivered == ["ann@x"]
    assert len(box.taken) == 1


def test_a_certificate_that_is_not_trusted_stops_the_mail(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box()
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with listening(box, tls_context=tls) as port:
        delivery = send(port, "ann@x", login="moor:open-sesame@")
    assert "certificate" in delivery.deferred["ann@x"].lower()
    assert box.taken == []


def test_a_password_that_is_refused_defers_the_mail_and_is_not_shown() -> None:
    box = Box()
    refuse = {"authenticator": lambda *_: AuthResult(success=False, handled=False), "auth_require_tls": False}
    with listening(box, **refuse) as port:
        delivery = send(port, "ann@x", login="moor:open-sesame@")
    assert "535" in delivery.deferred["ann@x"]
    assert "open-sesame" not in delivery.deferred["ann@x"]


def test_a_server_that_hangs_up_defers_what_it_did_not_take() -> None:
    class Leaving(Box):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            status = await super().handle_DATA(server, session, envelope)
            if len(self.taken) == 2:
                server.transport.abort()
            return status

    with listening(Leaving()) as port:
        delivery = send(port, "ann@x", "bob@x", "eve@x")
    assert delivery.delivered == ["ann@x"]
    assert list(delivery.deferred) == ["bob@x", "eve@x"]
