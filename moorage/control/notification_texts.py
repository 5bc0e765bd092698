"""What a notification says: as a mail that a person understands, and as a document for a program."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from enum import StrEnum


class Outcome(StrEnum):
    """How an update ended."""

    SUCCEEDED = "UPDATE_SUCCEEDED"
    FAILED = "UPDATE_FAILED"

    @property
    def in_words(self) -> str:
        return "succeeded" if self is Outcome.SUCCEEDED else "failed"

    @property
    def state(self) -> str:
        """The endpoint's `config_update` after it."""
        return "NOT_UPDATING" if self is Outcome.SUCCEEDED else "UPDATE_FAILED"


@dataclass(frozen=True, slots=True)
class News:
    """An update that has ended. `serving_version` is what serves after it; `time` is milliseconds since the epoch.

    `reason` explains the outcome; `id` is the same however often the news is sent.
    """

    id: str
    endpoint: str
    outcome: Outcome
    config_version: int
    serving_version: int | None
    reason: str
    time: int
    base_url: str

    @property
    def url(self) -> str:
        """Where a person looks at the endpoint, at the path that it has in Databricks too."""
        return f"{self.base_url}/ml/endpoints/{self.endpoint}"

    @property
    def subject(self) -> str:
        return f"[Moorage] {self.endpoint}: update to version {self.config_version} {self.outcome.in_words}"

    @property
    def when(self) -> datetime:
        return datetime.fromtimestamp(self.time / 1000, UTC)


def mail(news: News, sender: str, recipient: str) -> EmailMessage:
    """The mail to one of the recipients, who does not see the others."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = news.subject
    message["From"] = Address(display_name="Moorage", addr_spec=sender)
    message["To"] = Address(addr_spec=recipient)
    message["Date"] = news.when
    message["Message-ID"] = f"<{news.id}.{recipient.replace('@', '.at.')}@moorage>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(news))
    return message


def document(news: News) -> dict[str, object]:
    """What a webhook gets: `time` is ISO 8601 in UTC, `state` the endpoint's `config_update`."""
    return {
        "id": news.id,
        "event": news.outcome.value,
        "endpoint": news.endpoint,
        "config_version": news.config_version,
        "state": news.outcome.state,
        "message": news.reason,
        "time": news.when.isoformat(timespec="milliseconds"),
        "url": news.url,
    }


def _text(news: News) -> str:
    facts = [
        ("Endpoint", news.endpoint),
        ("Version", str(news.config_version)),
        ("Outcome", f"the update {news.outcome.in_words}"),
        ("Time", f"{news.when:%Y-%m-%d %H:%M:%S} UTC"),
        ("Link", news.url),
    ]
    parts = [_summary(news), "\n".join(f"{name + ':':<10}{value}" for name, value in facts)]
    if news.outcome is Outcome.FAILED:
        parts.append(f"Reason:\n{news.reason}")
    parts.append("You get this mail because your address is in the e-mail notifications of the endpoint.")
    return "\n\n".join(parts) + "\n"


def _summary(news: News) -> str:
    version = f"version {news.config_version} of its configuration"
    if news.outcome is Outcome.SUCCEEDED:
        return f"The serving endpoint '{news.endpoint}' now serves {version}."
    failed = f"The serving endpoint '{news.endpoint}' could not be updated to {version}."
    if news.serving_version is None:
        return f"{failed} It serves nothing at the moment."
    return f"{failed} Version {news.serving_version} goes on serving."
