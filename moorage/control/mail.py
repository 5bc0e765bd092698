"""Mail through an SMTP server. Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (smtps)."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

_SECONDS = 15.0  # for the server's answer to each command
_PERMANENT = 500
_LONGEST_REASON = 300


@dataclass(slots=True)
class Delivery:
    """What became of mails, by recipient: taken by the server, refused for good, or to be tried again; with why."""

    delivered: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    deferred: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes. `smtps` is encrypted from the start; `smtp` is as soon as the server offers it."""

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str) -> SmtpServer:
        """The server at `smtp://user:password@host:port`; user, password and port may be left out."""
        parts = urlsplit(url)
        encrypted = parts.scheme == "smtps"
        return cls(
            host=parts.hostname or "",
            port=parts.port or (465 if encrypted else 25),
            encrypted=encrypted,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else "",
        )

    def send(self, sender: str, mails: Sequence[tuple[str, EmailMessage]]) -> Delivery:
        """Send to each recipient their mail, on one connection. Blocks; raises nothing that the server causes."""
        result = Delivery()
        waiting = dict(mails)
        try:
            with self._connection() as smtp:
                for recipient, message in mails:
                    self._send_one(smtp, sender, recipient, message, result)
                    del waiting[recipient]
        except (OSError, smtplib.SMTPException) as error:
            reason = f"the SMTP server at {self.host}:{self.port}: {_words(error)}"
            result.deferred.update(dict.fromkeys(waiting, reason))
        return result

    def _connection(self) -> smtplib.SMTP:
        if self.encrypted:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=context)
        else:
            smtp = smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        try:
            smtp.ehlo()
            if not self.encrypted and smtp.has_extn("starttls"):
                smtp.starttls(context=ssl.create_default_context())
                smtp.ehlo()
            if self.user is not None:
                smtp.login(self.user, self.password or "")
        except BaseException:
            smtp.close()
            raise
        return smtp

    @staticmethod
    def _send_one(
        smtp: smtplib.SMTP, sender: str, recipient: str, message: EmailMessage, result: Delivery
    ) -> None:
        """
        Raises:
            OSError: the connection broke; the mail was not taken.
            smtplib.SMTPServerDisconnected: so it was by the server.
        """
        try:
            smtp.send_message(message, sender, [recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = error.recipients[recipient]
            kind = result.refused if code >= _PERMANENT else result.deferred
            kind[recipient] = _reply(code, reply)
        except smtplib.SMTPResponseException as error:
            kind = result.refused if error.smtp_code >= _PERMANENT else result.deferred
            kind[recipient] = _reply(error.smtp_code, error.smtp_error)
        else:
            result.delivered.append(recipient)


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _reply(error.smtp_code, error.smtp_error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]


def _reply(code: int, reply: bytes | str) -> str:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    return " ".join(f"{code} {text}".split())[:_LONGEST_REASON]
