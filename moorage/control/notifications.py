"""Notifications of updates, written down with the update's end in one transaction.

`notification_sender` sends what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from moorage.control.notification_texts import Outcome
from moorage.control.store import endpoints as store
from moorage.control.store.models import Endpoint, Event, Notification
from moorage.settings import Settings

_LONGEST_REASON = 4000
_ADDRESS_LISTS = {Outcome.SUCCEEDED: "on_update_success", Outcome.FAILED: "on_update_failure"}


class Channel(StrEnum):
    """How a notification is sent."""

    MAIL = "MAIL"
    WEBHOOK = "WEBHOOK"


@dataclass(frozen=True, slots=True)
class Outbox:
    """Writes down what is to be sent, by the channels that there are."""

    mail: bool = False
    webhook: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Outbox:
        return cls(mail=settings.smtp_url is not None, webhook=settings.notification_webhook_url is not None)

    def queue(
        self, session: Session, endpoint: Endpoint, outcome: Outcome, config_version: int, reason: str, now: int
    ) -> None:
        """Have the end of an update told, in the transaction that records it. `endpoint` is as it is then."""
        lists = endpoint.email_notifications or {}
        addresses = list(dict.fromkeys(lists.get(_ADDRESS_LISTS[outcome]) or ()))
        channels: dict[Channel, list[str]] = {}
        if self.mail and addresses:
            channels[Channel.MAIL] = addresses
        if self.webhook:
            channels[Channel.WEBHOOK] = []
        for channel, recipients in channels.items():
            session.add(
                Notification(
                    channel=channel,
                    recipients=recipients,
                    endpoint_id=endpoint.id,
                    endpoint_name=endpoint.name,
                    outcome=outcome,
                    config_version=config_version,
                    serving_version=None if endpoint.stopped else endpoint.active_version,
                    message=reason[:_LONGEST_REASON],
                    created_at=now,
                )
            )
        if addresses and not self.mail:
            words = f"No e-mail was sent to {', '.join(addresses)}: no SMTP server is configured (MOORAGE_SMTP_URL)."
            told = ("NOTIFICATION_NOT_SENT", "WARNING", words, now)
            store.add_event(session, notification_event(endpoint.id, endpoint.name, outcome, *told))


def notification_event(
    endpoint_id: str, endpoint_name: str, outcome: Outcome, event_type: str, status: str, message: str, now: int
) -> Event:
    """What the endpoint's events say of a notification."""
    return Event(
        endpoint_id=endpoint_id,
        endpoint_name=endpoint_name,
        event_type=event_type,
        status=status,
        trigger=outcome,
        message=message,
        timestamp=now,
    )
