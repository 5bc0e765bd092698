"""Notifications: what is queued with an update's end, what they say, and how long they are tried."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from control_harness import ENDPOINTS, ControlPlane, control_plane, entity
from sqlalchemy.exc import OperationalError

from moorage.control import notification_sender
from moorage.control.mail import Delivery, SmtpServer
from moorage.control.notification_sender import NotificationSender
from moorage.control.notification_texts import News, Outcome, document, mail
from moorage.control.notifications import Outbox
from moorage.control.reconciler.records import Records
from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, Event, Notification
from moorage.control.webhook import Webhook, WebhookFailed, signature
from moorage.settings import Settings

_PATIENCE = 10.0
LISTS = {"on_update_success": ["ann@example.com", "bob@example.com"], "on_update_failure": ["eve@example.com"]}
NEWS = News(
    id="e.1.2",
    endpoint="ads",
    outcome=Outcome.FAILED,
    config_version=3,
    serving_version=2,
    reason="ads1-1: The model could not be loaded.\nTraceback: ø",
    time=1_700_000_000_123,
    base_url="https://models.example.com",
)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def events(plane: ControlPlane) -> list[tuple[str, str, str, str]]:
    with reading(plane.sessions) as session:
        return [
            (one.event_type, one.status, one.trigger, one.message)
            for one in session.query(Event).order_by(Event.id)
            if one.event_type.startswith("NOTIFICATION")
        ]


def queued(plane: ControlPlane) -> list[Notification]:
    with reading(plane.sessions) as session:
        return list(session.query(Notification).order_by(Notification.id))


def parse(message: EmailMessage) -> Any:
    return email.message_from_bytes(bytes(message), policy=email.policy.default)


def test_a_successful_update_is_queued_for_its_list_and_for_the_webhook(plane: ControlPlane) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]
    assert Records(plane.sessions, Outbox(mail=True, webhook=True)).switch(endpoint_id, 42)
    mails, webhook = queued(plane)
    assert (mails.channel, mails.recipients) == ("MAIL", LISTS["on_update_success"])
    assert (webhook.channel, webhook.recipients) == ("WEBHOOK", [])
    for one in (mails, webhook):
        assert (one.outcome, one.config_version, one.serving_version) == ("UPDATE_SUCCEEDED", 1, 1)
        assert (one.endpoint_name, one.created_at, one.attempts) == ("ads", 42, 0)
    assert events(plane) == []


def test_a_failed_update_is_queued_with_its_reason(plane: ControlPlane) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]
    plane.activate(endpoint_id)
    body = {"served_entities": [entity(entity_version="2")]}
    assert plane.request("PUT", f"{ENDPOINTS}/ads/config", json=body).status_code == 200
    assert Records(plane.sessions, Outbox(mail=True)).fail_update(endpoint_id, "it broke" * 1000, 42)
    [one] = queued(plane)
    assert one.recipients == LISTS["on_update_failure"]
    assert (one.outcome, one.config_version, one.serving_version) == ("UPDATE_FAILED", 2, 1)
    assert one.message.startswith("it broke")
    assert len(one.message) == 4000


def test_an_update_that_did_not_end_queues_nothing(plane: ControlPlane) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]
    records = Records(plane.sessions, Outbox(mail=True, webhook=True))
    assert records.switch(endpoint_id, 1)
    assert not records.switch(endpoint_id, 2)
    assert not records.fail_update(endpoint_id, "x", 3)
    assert not records.fail_update("nosuch", "x", 3)
    assert len(queued(plane)) == 2


def test_what_cannot_be_queued_leaves_the_update_as_it_was(plane: ControlPlane, monkeypatch: Any) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]

    def broken(*_: object) -> None:
        raise OperationalError("", {}, Exception("disk full"))

    monkeypatch.setattr(Outbox, "queue", broken)
    with pytest.raises(OperationalError):
        Records(plane.sessions).switch(endpoint_id, 1)
    with reading(plane.sessions) as session:
        assert session.get_one(Endpoint, endpoint_id).config_update == "IN_PROGRESS"


@pytest.mark.parametrize("outbox", [Outbox(), Outbox(webhook=True)])
def test_addresses_without_an_smtp_server_are_warned_of_once(plane: ControlPlane, outbox: Outbox) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]
    assert Records(plane.sessions, outbox).switch(endpoint_id, 1)
    [(event_type, status, trigger, message)] = events(plane)
    assert (event_type, status, trigger) == ("NOTIFICATION_NOT_SENT", "WARNING", "UPDATE_SUCCEEDED")
    assert "MOORAGE_SMTP_URL" in message
    assert "ann@example.com, bob@example.com" in message
    assert [one.channel for one in queued(plane)] == ["WEBHOOK"] * outbox.webhook


def test_without_addresses_and_channels_nothing_is_said(plane: ControlPlane) -> None:
    endpoint_id = plane.create(email_notifications={"on_update_failure": ["eve@example.com"]})["id"]
    assert Records(plane.sessions).switch(endpoint_id, 1)
    assert (queued(plane), events(plane)) == ([], [])


def test_a_mail_of_a_failure_says_what_why_and_where() -> None:
    parsed = parse(mail(NEWS, "moorage@example.com", "eve@example.com"))
    assert parsed["Subject"] == "[Moorage] ads: update to version 3 failed"
    assert (parsed["From"], parsed["To"]) == ("Moorage <moorage@example.com>", "eve@example.com")
    assert parsed["Date"].datetime.timestamp() == 1_700_000_000
    assert parsed["Message-ID"] == "<e.1.2.eve.at.example.com@moorage>"
    text = parsed.get_content().replace("\r\n", "\n")
    assert text.startswith("The serving endpoint 'ads' could not be updated to version 3 of its configuration.")
    assert "Version 2 goes on serving." in text
    assert "Reason:\nads1-1: The model could not be loaded.\nTraceback: ø" in text
    assert "2023-11-14 22:13:20 UTC" in text
    assert "https://models.example.com/ml/endpoints/ads" in text


def test_other_outcomes_read_well() -> None:
    def text(**changes: Any) -> str:
        return str(mail(replace(NEWS, **changes), "a@b", "c@d").get_content())

    assert "It serves nothing at the moment." in text(serving_version=None)
    succeeded = text(outcome=Outcome.SUCCEEDED, serving_version=3)
    assert succeeded.startswith("The serving endpoint 'ads' now serves version 3 of its configuration.")
    assert "Reason" not in succeeded


def test_a_reason_cannot_reach_the_headers() -> None:
    parsed = parse(mail(replace(NEWS, reason="x\r\nBcc: all@example.com\r\n\r\n"), "a@b", "c@d"))
    assert parsed["Bcc"] is None


def test_the_webhooks_document() -> None:
    assert document(NEWS) == {
        "id": "e.1.2",
        "event": "UPDATE_FAILED",
        "endpoint": "ads",
        "config_version": 3,
        "state": "UPDATE_FAILED",
        "message": NEWS.reason,
        "time": "2023-11-14T22:13:20.123+00:00",
        "url": "https://models.example.com/ml/endpoints/ads",
    }


def test_the_signature_covers_time_and_body() -> None:
    expected = hmac.new(b"secret", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature("secret", "1700000000", b'{"a":1}') == f"sha256={expected}"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", SmtpServer("mail.example.com", 25, False, None, "")),
        ("smtps://mail.example.com", SmtpServer("mail.example.com", 465, True, None, "")),
        ("smtp://a%40b:p%2Fw@[::1]:2525", SmtpServer("::1", 2525, False, "a@b", "p/w")),
    ],
)
def test_where_mail_goes_is_read_from_the_url(url: str, server: SmtpServer) -> None:
    assert SmtpServer.of(url) == server
    assert "p/w" not in repr(server)


def test_an_smtp_server_that_is_not_there_defers_every_mail() -> None:
    delivery = SmtpServer("127.0.0.1", 1, False, None, "").send("a@b", [("c@d", mail(NEWS, "a@b", "c@d"))])
    assert (delivery.delivered, delivery.refused, list(delivery.deferred)) == ([], {}, ["c@d"])
    assert "127.0.0.1:1" in delivery.deferred["c@d"]


@pytest.mark.parametrize(
    "address",
    [
        "nobody", "a@", "@b", "a b@c.d", "a@b c", "a@b@c", "a@b\n", "a@b\r\nBcc: c@d", "a,b@c.d", "<a@b.c>",
        '"a"@b.c',
        "a@b_c", "a..b@c.d", ".a@c.d", "a.@c.d", "a@-b.c", "a@b-.c", "a@b..c", "x" * 65 + "@b.c", "ü@b.c", "a@ü.c",
        "a@" + ".".join(["b" * 60] * 5), "a:b@c.d", "a@[127.0.0.1]",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_named(plane: ControlPlane, address: str) -> None:
    plane.create()
    body = {"email_notifications": {"on_update_success": ["ann@example.com", address]}}
    response = plane.request("PATCH", f"{ENDPOINTS}/ads/notifications", json=body)
    assert response.status_code == 400
    assert "email_notifications.on_update_success[1]" in response.json()["message"]


@pytest.mark.parametrize(
    "address", ["a@b", "ann.o'hara+ops@mail.example.com", "x" * 64 + "@b.c", "a@xn--bcher-kva.example", "a/b=c@d.e"]
)
def test_what_is_an_address_is_kept_and_can_be_written_to(plane: ControlPlane, address: str) -> None:
    plane.create()
    lists = {"on_update_success": [address]}
    response = plane.request("PATCH", f"{ENDPOINTS}/ads/notifications", json={"email_notifications": lists})
    assert response.json()["email_notifications"] == lists
    parsed = parse(mail(NEWS, "a@b", address))
    assert [one.addr_spec for one in parsed["To"].addresses] == [address]


def test_lists_of_addresses_are_bounded(plane: ControlPlane) -> None:
    plane.create()
    lists = {"on_update_success": [f"a{number}@example.com" for number in range(51)]}
    response = plane.request("PATCH", f"{ENDPOINTS}/ads/notifications", json={"email_notifications": lists})
    assert response.status_code == 400
    assert "on_update_success" in response.json()["message"]


class FakeSmtp:
    """Answers each attempt with what the test says; the last answer again and again."""

    def __init__(self, *answers: Callable[[list[str]], Delivery]) -> None:
        self.attempts: list[list[str]] = []
        self._answers = list(answers)

    def send(self, sender: str, mails: list[tuple[str, Any]]) -> Delivery:
        recipients = [recipient for recipient, _ in mails]
        self.attempts.append(recipients)
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        return answer(recipients)


def deferring(recipients: list[str]) -> Delivery:
    return Delivery(deferred=dict.fromkeys(recipients, "451 later"))


def delivering(recipients: list[str]) -> Delivery:
    return Delivery(delivered=recipients)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification_sender, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(notification_sender, "_FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(notification_sender, "_LONGEST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(notification_sender, "_JITTER_SECONDS", 0.0)


def settings(plane: ControlPlane, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": plane.data.root,
            "smtp_url": "smtp://nowhere",
            "smtp_from": "moorage@example.com",
            "notification_attempts": 4,
            **more,
        }
    )


def send(plane: ControlPlane, smtp: FakeSmtp | None, until: Callable[[], bool], **more: Any) -> None:
    """Run a sender on the control plane's outbox until something holds."""

    async def run() -> None:
        sender = NotificationSender(settings(plane, **more), plane.sessions, plane.clock)
        if smtp is not None:
            sender._smtp = smtp  # type: ignore[assignment]
        sender.start()
        async with asyncio.timeout(_PATIENCE):
            while not until():  # noqa: ASYNC110  another thread's work
                await asyncio.sleep(0.01)
        await sender.close(1.0)

    asyncio.run(run())


def succeed(plane: ControlPlane, **outbox: bool) -> None:
    endpoint_id = plane.create(email_notifications=LISTS)["id"]
    assert Records(plane.sessions, Outbox(**(outbox or {"mail": True}))).switch(endpoint_id, 42)


def test_a_mail_that_is_taken_leaves_an_event_and_no_row(plane: ControlPlane) -> None:
    succeed(plane)
    smtp = FakeSmtp(delivering)
    send(plane, smtp, lambda: not queued(plane))
    assert smtp.attempts == [LISTS["on_update_success"]]
    assert events(plane) == [
        ("NOTIFICATION_SENT", "SUCCESS", "UPDATE_SUCCEEDED", "E-mail sent to ann@example.com, bob@example.com.")
    ]


def test_what_is_deferred_is_tried_again_and_only_that(plane: ControlPlane) -> None:
    succeed(plane)

    def half(recipients: list[str]) -> Delivery:
        return Delivery(delivered=["ann@example.com"], deferred={"bob@example.com": "451 later"})

    smtp = FakeSmtp(deferring, half, delivering)
    send(plane, smtp, lambda: not queued(plane))
    assert smtp.attempts == [LISTS["on_update_success"]] * 2 + [["bob@example.com"]]
    assert [one[3] for one in events(plane)] == ["E-mail sent to ann@example.com.", "E-mail sent to bob@example.com."]


def test_an_address_that_is_refused_for_good_is_not_tried_again(plane: ControlPlane) -> None:
    succeed(plane)

    def refusing(recipients: list[str]) -> Delivery:
        return Delivery(delivered=["ann@example.com"], refused={"bob@example.com": "550 no such user"})

    smtp = FakeSmtp(refusing)
    send(plane, smtp, lambda: not queued(plane))
    assert len(smtp.attempts) == 1
    words = "E-mail not delivered. bob@example.com: 550 no such user."
    assert events(plane)[1] == ("NOTIFICATION_FAILED", "FAILED", "UPDATE_SUCCEEDED", words)


def test_attempts_are_bounded_and_their_end_is_told_with_the_reason(plane: ControlPlane) -> None:
    succeed(plane)
    smtp = FakeSmtp(deferring)
    send(plane, smtp, lambda: not queued(plane))
    assert len(smtp.attempts) == 4
    [(event_type, status, _, message)] = events(plane)
    assert (event_type, status) == ("NOTIFICATION_FAILED", "FAILED")
    assert "ann@example.com, bob@example.com: " in message
    assert "451 later" in message
    assert "attempts: 4" in message


def test_attempts_are_counted_over_restarts(plane: ControlPlane) -> None:
    succeed(plane)
    for _ in range(2):  # each control plane ends in the middle of an attempt
        send(plane, FakeSmtp(_hang), lambda before=queued(plane)[0].attempts: queued(plane)[0].attempts > before)
    smtp = FakeSmtp(deferring)
    send(plane, smtp, lambda: not queued(plane))
    assert len(smtp.attempts) == 2


def _hang(recipients: list[str]) -> Delivery:
    import time

    time.sleep(1.2)  # longer than the sender waits when it closes
    return deferring(recipients)


def test_a_row_that_used_up_its_attempts_is_given_up_without_another(plane: ControlPlane) -> None:
    succeed(plane)
    with plane.sessions.begin() as session:
        session.query(Notification).one().attempts = 4
    smtp = FakeSmtp(delivering)
    send(plane, smtp, lambda: not queued(plane))
    assert smtp.attempts == []
    assert [one[0] for one in events(plane)] == ["NOTIFICATION_FAILED"]


def test_what_was_queued_for_a_server_that_is_no_longer_configured_is_given_up(plane: ControlPlane) -> None:
    succeed(plane, mail=True, webhook=True)
    send(plane, None, lambda: not queued(plane), smtp_url=None)
    messages = " ".join(one[3] for one in events(plane))
    assert "MOORAGE_SMTP_URL" in messages
    assert "MOORAGE_NOTIFICATION_WEBHOOK_URL" in messages


def test_mail_for_a_deleted_endpoint_is_sent_and_leaves_no_event(plane: ControlPlane) -> None:
    succeed(plane)
    with plane.sessions.begin() as session:
        session.delete(session.query(Endpoint).one())
    smtp = FakeSmtp(delivering)
    send(plane, smtp, lambda: not queued(plane))
    assert len(smtp.attempts) == 1
    assert events(plane) == []


def post(status: int, secret: str | None = None) -> tuple[list[tuple[dict[str, str], bytes]], WebhookFailed | None]:
    """Post a document to a server that answers with `status`: what it got, and how the post failed."""
    from aiohttp import web

    got: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        got.append((dict(request.headers), await request.read()))
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async def run() -> WebhookFailed | None:
        application = web.Application()
        application.router.add_post("/hook", take)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            await Webhook(f"http://127.0.0.1:{port}/hook", secret, lambda: 1_700_000_000_999).post(document(NEWS))
        except WebhookFailed as error:
            return error
        finally:
            await runner.cleanup()
        return None

    return got, asyncio.run(run())


def test_a_webhook_gets_the_document_signed(plane: ControlPlane) -> None:
    [(headers, body)], error = post(204, "secret")
    assert error is None
    assert json.loads(body) == document(NEWS)
    assert headers["X-Moorage-Timestamp"] == "1700000000"
    assert headers["X-Moorage-Signature"] == signature("secret", "1700000000", body)
    assert headers["Content-Type"] == "application/json"
    [(headers, _)], _ = post(200)
    assert "X-Moorage-Signature" not in headers


@pytest.mark.parametrize(
    ("status", "passing"),
    [(500, True), (503, True), (429, True), (408, True), (404, False), (401, False), (302, False)],
)
def test_an_answer_of_a_webhook_is_final_or_passing(status: int, passing: bool) -> None:
    got, error = post(status)
    assert len(got) == 1
    assert error is not None
    assert error.passing is passing
    assert str(status) in str(error)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cret", "http://s3cret.invalid/", "http://[s3cret"])
def test_a_webhook_that_is_not_there_does_not_show_its_url(url: str) -> None:
    with pytest.raises(WebhookFailed) as failed:
        asyncio.run(Webhook(url, None, lambda: 0).post(document(NEWS)))
    assert "s3cret" not in str(failed.value)
