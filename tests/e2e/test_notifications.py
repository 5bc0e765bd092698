"""Mails and webhook calls of real updates, taken by a real SMTP server and a real HTTP server."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as SmtpProtocol
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from models import Registry
from server import Server, data_directory, endpoint_body, running_server, wait_for

SECRET = "open-sesame"
LISTS = {
    "on_update_success": ["ann@example.com", "bob@example.com"],
    "on_update_failure": ["eve@example.com", "gone@example.com"],
}


class Postbox:
    """What an SMTP server has taken; it knows nobody named gone."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, Any]] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("gone@"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails += [(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 OK"

    def authenticate(
        self, server: SmtpProtocol, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == SECRET.encode())

    def to(self, recipient: str) -> list[Any]:
        return [message for address, message in self.mails if address == recipient]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def smtp_server(postbox: Postbox, port: int) -> Iterator[None]:
    controller = Controller(
        postbox, "127.0.0.1", port, authenticator=postbox.authenticate, auth_required=True, auth_require_tls=False
    )
    controller.start()
    try:
        yield
    finally:
        controller.stop()


class Hook(ThreadingHTTPServer):
    """A webhook that is out of order at its first call."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HookHandler)
        self.calls: list[tuple[int, dict[str, str], bytes]] = []

    @property
    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(body) for status, _, body in self.calls if status == 200]


class _HookHandler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = 200 if self.server.calls else 503
        self.server.calls.append((status, dict(self.headers), body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not on the terminal."""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with Hook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def notifications(server: Server, name: str) -> list[dict[str, Any]]:
    """The endpoint's events of notifications, oldest first."""
    events = server.http.get(f"/api/2.0/serving-endpoints/{name}/events").json()["events"]
    return [event for event in reversed(events) if event["event_type"].startswith("NOTIFICATION")]


def create(server: Server, name: str, model: str) -> None:
    body = {**endpoint_body(name, model), "email_notifications": LISTS}
    answer = server.http.post("/api/2.0/serving-endpoints", json=body)
    assert answer.status_code == 200, answer.text


def test_updates_are_told_by_mail_and_webhook_once_also_after_an_outage(hook: Hook) -> None:
    port, postbox = free_port(), Postbox()
    settings = {
        "MOORAGE_SMTP_URL": f"smtp://moor:{SECRET}@127.0.0.1:{port}",
        "MOORAGE_SMTP_FROM": "moorage@example.com",
        "MOORAGE_NOTIFICATION_WEBHOOK_URL": f"http://127.0.0.1:{hook.server_port}/{SECRET}",
        "MOORAGE_NOTIFICATION_WEBHOOK_SECRET": SECRET,
    }
    with running_server(settings=settings) as server:
        registry = Registry(server)
        good, bad = registry.register("misbehaves").name, registry.register("load_raises").name

        # Nobody listens at the SMTP server's port yet.
        create(server, "told", good)
        server.ready("told")
        wait_for("an attempt at the webhook that failed, and one that did not", lambda: len(hook.calls) == 2, 30)
        assert postbox.mails == []
        with smtp_server(postbox, port):
            wait_for("the mails", lambda: len(postbox.mails) == 2, 60)
            create(server, "fails", bad)
            assert server.settled("fails")["state"]["config_update"] == "UPDATE_FAILED"
            wait_for("the mail of the failure", lambda: len(postbox.mails) == 3, 30)
            wait_for("all events", lambda: len(notifications(server, "fails")) == 3, 30)
            assert server.http.put(
                "/api/2.0/serving-endpoints/told/config", json=endpoint_body("", bad)["config"]
            ).status_code == 200  # fmt: skip
            assert server.settled("told")["state"]["config_update"] == "UPDATE_FAILED"
            wait_for("the mail of the second failure", lambda: len(postbox.mails) == 4, 30)
            wait_for("its events", lambda: len(notifications(server, "told")) == 5, 30)

        assert (b"moor", SECRET.encode()) in postbox.logins
        for recipient in LISTS["on_update_success"]:
            [message] = postbox.to(recipient)
            assert message["Subject"] == "[Moorage] told: update to version 1 succeeded"
            assert (message["From"], message["To"]) == ("Moorage <moorage@example.com>", recipient)
            assert f"{server.url}/ml/endpoints/told" in message.get_content()
        first, second = postbox.to("eve@example.com")
        assert first["Subject"] == "[Moorage] fails: update to version 1 failed"
        assert "the weights are missing" in first.get_content()
        assert "It serves nothing at the moment." in first.get_content()
        assert second["Subject"] == "[Moorage] told: update to version 2 failed"
        assert "Version 1 goes on serving." in second.get_content()
        assert len({message["Message-ID"] for _, message in postbox.mails}) == 4

        told = [(one["event_type"], one["trigger"]) for one in notifications(server, "told")]
        assert sorted(told) == [
            ("NOTIFICATION_FAILED", "UPDATE_FAILED"),
            ("NOTIFICATION_SENT", "UPDATE_FAILED"),
            ("NOTIFICATION_SENT", "UPDATE_FAILED"),
            ("NOTIFICATION_SENT", "UPDATE_SUCCEEDED"),
            ("NOTIFICATION_SENT", "UPDATE_SUCCEEDED"),
        ]
        [refused] = [one for one in notifications(server, "fails") if one["event_type"] == "NOTIFICATION_FAILED"]
        assert "gone@example.com: 550 no such user here" in refused["message"]

        assert [(one["endpoint"], one["event"], one["config_version"], one["state"]) for one in hook.taken] == [
            ("told", "UPDATE_SUCCEEDED", 1, "NOT_UPDATING"),
            ("fails", "UPDATE_FAILED", 1, "UPDATE_FAILED"),
            ("told", "UPDATE_FAILED", 2, "UPDATE_FAILED"),
        ]
        assert json.loads(hook.calls[0][2]) == json.loads(hook.calls[1][2])
        for _, headers, body in hook.calls:
            signed = headers["X-Moorage-Timestamp"].encode() + b"." + body
            digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert headers["X-Moorage-Signature"] == f"sha256={digest}"

        gateway = server.part("moorage.gateway")
        with open(f"/proc/{gateway}/environ") as environ:
            assert SECRET not in environ.read()
        assert SECRET not in server.log_tail()


def test_mail_that_cannot_be_delivered_waits_for_the_next_start_and_is_given_up_in_the_end() -> None:
    settings = {
        "MOORAGE_SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
        "MOORAGE_SMTP_FROM": "moorage@example.com",
        "MOORAGE_NOTIFICATION_ATTEMPTS": "4",
    }
    with data_directory() as data_dir:
        server = Server(data_dir, settings=settings)
        try:
            create(server, "unheard", Registry(server).register("misbehaves").name)
            server.ready("unheard")
            server.stop()
            server = Server(data_dir, settings=settings)
            [failed] = wait_for("it is given up", lambda: notifications(server, "unheard"), 60)
            assert (failed["event_type"], failed["status"]) == ("NOTIFICATION_FAILED", "FAILED")
            assert "ann@example.com, bob@example.com" in failed["message"]
            assert "attempts: 4" in failed["message"]
            server.stop()
        except BaseException:
            server.kill()
            raise


def test_without_a_mail_server_the_endpoint_says_so(server: Server, registered) -> None:
    create(server, "mail-nowhere", registered("misbehaves").name)
    server.ready("mail-nowhere")
    [warning] = notifications(server, "mail-nowhere")
    assert (warning["event_type"], warning["status"]) == ("NOTIFICATION_NOT_SENT", "WARNING")
    assert "MOORAGE_SMTP_URL" in warning["message"]
    server.delete("mail-nowhere")
