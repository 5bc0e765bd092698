"""Sends the notifications that are written down, until they are taken or given up.

One may arrive twice when this process dies between its sending and the note of that; never silently not at all. A
mail's Message-ID and the `id` in a webhook's document stay the same.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from moorage.control.mail import Delivery, SmtpServer
from moorage.control.notification_texts import News, Outcome, document, mail
from moorage.control.notifications import Channel, notification_event
from moorage.control.reconciler.context import in_thread
from moorage.control.store import endpoints as store
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.models import Endpoint, Notification
from moorage.control.webhook import Webhook, WebhookFailed
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 600.0
_JITTER_SECONDS = 1.0
_AFTER_A_DEFECT_SECONDS = 30.0
_AT_ONCE = 2  # of each channel
_WEBHOOK = "the webhook"
_KIND = {Channel.MAIL: "E-mail", Channel.WEBHOOK: "Notification"}

R = TypeVar("R")


class _NotSent(Exception):
    """An attempt failed that may do better another time; the message says why."""


class NotificationSender:
    """Sends what is in the outbox; what an earlier control plane left too. `clock` is milliseconds."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        smtp, webhook = settings.smtp_url, settings.notification_webhook_url
        secret = settings.notification_webhook_secret
        self._smtp = SmtpServer.of(smtp.get_secret_value()) if smtp else None
        self._webhook = (
            Webhook(webhook.get_secret_value(), secret.get_secret_value() if secret else None, clock)
            if webhook
            else None
        )
        self._room = {channel: asyncio.Semaphore(_AT_ONCE) for channel in Channel}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sending: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="notifications")

    async def close(self, seconds: float) -> None:
        """End; what is being sent at the moment has that long to get through. The rest stays for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        sending = {self._tasks[one] for one in self._sending}
        for task in self._tasks.values():
            if task not in sending:
                task.cancel()
        if sending:
            await asyncio.wait(sending, timeout=seconds)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                waiting = await in_thread(self._waiting)
            except SQLAlchemyError as error:
                _logger.warning("the notifications that wait cannot be read: %s", error)
                waiting = []
            for identifier, channel, attempts in waiting:
                if identifier not in self._tasks:
                    self._begin(identifier, channel, attempts)
            await asyncio.sleep(_POLL_SECONDS)

    def _begin(self, identifier: int, channel: Channel, attempts: int) -> None:
        task = asyncio.create_task(self._see_through(identifier, channel, attempts))
        self._tasks[identifier] = task
        task.add_done_callback(lambda _: self._tasks.pop(identifier, None))

    async def _see_through(self, identifier: int, channel: Channel, attempts: int) -> None:
        """Send one, again and again, until it is sent or given up."""
        left = self._settings.notification_attempts - attempts
        try:
            if left <= 0:
                await in_thread(self._give_up, identifier, "the last attempt was broken off")
                return
            try:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(_NotSent),
                    stop=stop_after_attempt(left),
                    wait=wait_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
                    + wait_random(0, _JITTER_SECONDS),
                    reraise=True,
                ):
                    with attempt:
                        async with self._room[channel]:
                            await self._attempt(identifier)
            except _NotSent as error:
                await in_thread(self._give_up, identifier, str(error))
        except Exception:
            _logger.exception("notification %d: an unforeseen failure", identifier)
            await asyncio.sleep(_AFTER_A_DEFECT_SECONDS)

    async def _attempt(self, identifier: int) -> None:
        """
        Raises:
            _NotSent: it did not arrive, or not everywhere, and may another time.
        """
        self._sending.add(identifier)
        try:
            row = await in_thread(self._count_attempt, identifier)
            if row is not None:
                await self._send(row)
        finally:
            self._sending.discard(identifier)

    async def _send(self, row: Notification) -> None:
        news = News(
            id=f"{row.endpoint_id}.{row.created_at}.{row.id}",
            endpoint=row.endpoint_name,
            outcome=Outcome(row.outcome),
            config_version=row.config_version,
            serving_version=row.serving_version,
            reason=row.message,
            time=row.created_at,
            base_url=self._settings.base_url,
        )
        if row.channel == Channel.MAIL:
            await self._mail(row, news)
        else:
            await self._call(row, news)

    async def _mail(self, row: Notification, news: News) -> None:
        sender = self._settings.smtp_from
        if self._smtp is None or sender is None:
            refused = dict.fromkeys(row.recipients, "no SMTP server is configured any more (MOORAGE_SMTP_URL)")
            await in_thread(self._settle, row.id, Delivery(refused=refused))
            return
        mails = [(recipient, mail(news, sender, recipient)) for recipient in row.recipients]
        delivery = await _in_thread_of_its_own(partial(self._smtp.send, sender, mails))
        await in_thread(self._settle, row.id, delivery)
        if delivery.deferred:
            raise _NotSent(_reasons(delivery.deferred))

    async def _call(self, row: Notification, news: News) -> None:
        done = Delivery(delivered=[_WEBHOOK])
        if self._webhook is None:
            words = "no webhook is configured any more (MOORAGE_NOTIFICATION_WEBHOOK_URL)"
            done = Delivery(refused={_WEBHOOK: words})
        else:
            try:
                await self._webhook.post(document(news))
            except WebhookFailed as error:
                if error.passing:
                    raise _NotSent(str(error)) from error
                done = Delivery(refused={_WEBHOOK: str(error)})
        await in_thread(self._settle, row.id, done)

    def _waiting(self) -> list[tuple[int, Channel, int]]:
        with reading(self._sessions) as session:
            rows = session.execute(select(Notification.id, Notification.channel, Notification.attempts))
            return [(row[0], Channel(row[1]), row[2]) for row in rows]

    def _count_attempt(self, identifier: int) -> Notification | None:
        with self._sessions.begin() as session:
            row = session.get(Notification, identifier)
            if row is not None:
                row.attempts += 1
            return row

    def _settle(self, identifier: int, delivery: Delivery) -> None:
        """Write down what has become of it; only those that may get it another time stay."""
        with self._sessions.begin() as session:
            row = session.get(Notification, identifier)
            if row is None:
                return
            if delivery.delivered:
                words = f"{_KIND[Channel(row.channel)]} sent to {', '.join(delivery.delivered)}."
                self._tell(session, row, "NOTIFICATION_SENT", "SUCCESS", words)
            if delivery.refused:
                self._tell_failure(session, row, delivery.refused)
            row.recipients = [one for one in row.recipients if one in delivery.deferred]
            if not delivery.deferred:
                session.delete(row)

    def _give_up(self, identifier: int, reason: str) -> None:
        with self._sessions.begin() as session:
            row = session.get(Notification, identifier)
            if row is None:
                return
            places = row.recipients or [_WEBHOOK]
            words = f"{reason} (attempts: {row.attempts})"
            self._tell_failure(session, row, dict.fromkeys(places, words))
            session.delete(row)

    def _tell_failure(self, session: Session, row: Notification, reasons: dict[str, str]) -> None:
        words = f"{_KIND[Channel(row.channel)]} not delivered. {_reasons(reasons)}."
        self._tell(session, row, "NOTIFICATION_FAILED", "FAILED", words)

    def _tell(self, session: Session, row: Notification, event_type: str, status: str, message: str) -> None:
        _logger.info("%s: %s: %s", row.endpoint_name, event_type, message)
        if session.get(Endpoint, row.endpoint_id) is None:
            return  # deleted meanwhile: nobody looks at its events
        event = notification_event(
            row.endpoint_id, row.endpoint_name, Outcome(row.outcome), event_type, status, message, self._clock()
        )
        store.add_event(session, event)


def _reasons(reasons: dict[str, str]) -> str:
    """Who did not get it and why; those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for place, reason in reasons.items():
        by_reason.setdefault(reason, []).append(place)
    return "; ".join(f"{', '.join(places)}: {reason}" for reason, places in by_reason.items())


async def _in_thread_of_its_own(function: Callable[[], R]) -> R:
    """Run a call that may block for long. Neither the other threads' work nor the end of the process waits for it."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[R] = loop.create_future()

    def settle(value: R | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value: R | None = None
        failure: BaseException | None = None
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001  handed to who waits
            failure = error
        try:
            loop.call_soon_threadsafe(settle, value, failure)
        except RuntimeError:
            _logger.warning("a mail was sent while the server ended; it is sent again")

    threading.Thread(target=work, name="mail", daemon=True).start()
    return await result

