"""The application: takes a request, does what the script says, and writes down what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from . import instant
from .checks import Invalid
from .control import BadControl, Script, controlled
from .delivery import ClientLeft, Delivery, Receive, Send
from .faults import INSTEAD, Fault, Kind, refusal, spoiled
from .ledger import Ledger
from .routes import Route, find
from .talk import NOT_ASCII
from .wire import Plain, Refused, Reply, Request, answer


class FakeProvider:
    """An ASGI application.

    `POST /_control` changes the script, `GET /_requests` and `GET /_counts` tell what came in.
    """

    def __init__(self) -> None:
        self.script = Script()
        self.ledger = Ledger()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        if self.script.instant and scope["path"] == instant.PATH:
            self.ledger.begin_unseen()
            try:
                await instant.answer(receive, send)
            finally:
                self.ledger.open -= 1
            return
        request = await _read(scope, receive)
        delivery = Delivery(scope, receive, send)
        try:
            if request.path.startswith("/_"):
                await delivery.deliver(self._own(request), Script(), None)
            else:
                await self._provide(request, delivery)
        except ClientLeft:
            # The client of a control call has left; that is its own affair.
            return
        finally:
            delivery.close()

    def _own(self, request: Request) -> Plain:
        match request.method, request.path:
            case "POST", "/_control":
                try:
                    self.script = controlled(self.script, request.json)
                except BadControl as wrong:
                    return answer({"error": str(wrong)}, 400)
                if request.json.get("reset"):
                    self.ledger.forget()
                return answer({})
            case "GET", "/_requests":
                return answer(list(self.ledger.requests))
            case "GET", "/_counts":
                return answer(self.ledger.counts())
        return answer({"error": f"no {request.method} {request.path}"}, 404)

    async def _provide(self, request: Request, delivery: Delivery) -> None:
        found = find(request.method, request.raw_path)
        if found is None:
            entry = self.ledger.begin(None, request)
            entry["status"] = 404
            self.ledger.refused += 1
            try:
                told = answer({"error": f"no provider has {request.method} {request.path}"}, 404)
                await delivery.deliver(told, self.script, None)
            finally:
                self.ledger.open -= 1
            return
        route, at = found
        request = replace(request, at=at)
        entry = self.ledger.begin(route.dialect.name, request)
        script = self.script
        fault = self._fault(route, request)
        entry["fault"] = None if fault is None else str(fault.kind)
        try:
            if fault is not None and fault.kind in (Kind.TIMEOUT, Kind.RESET):
                await _never_answered(fault, delivery)
                return
            reply = self._reply(route, request, script, fault)
            entry["status"] = reply.status if isinstance(reply, Plain) else 200
            await delivery.deliver(reply, script, fault)
        except ClientLeft:
            entry["aborted"] = True
            self.ledger.aborted += 1
        finally:
            self.ledger.open -= 1

    def _fault(self, route: Route, request: Request) -> Fault | None:
        """Token services fail only when a fault names them."""
        if route.is_token_service and not any(f and f.dialect == route.dialect.name for f in self.script.faults):
            return None
        return self.script.next_fault(route.dialect.name, request.model)

    def _reply(self, route: Route, request: Request, script: Script, fault: Fault | None) -> Reply:
        if fault is not None and fault.kind in INSTEAD:
            return Plain(200, b"", {}) if fault.kind is Kind.EMPTY else refusal(fault, route.dialect)
        if fault is not None and fault.kind is Kind.HUGE:
            script = replace(script, text="x" * fault.size)
        elif fault is not None and fault.kind is Kind.SPLIT_UTF8:
            script = replace(script, text=NOT_ASCII)
        try:
            reply = route.answer(request, script)
        except Refused as refused:
            reply = refused.reply
        except Invalid as wrong:
            reply = route.invalid(wrong)
        if isinstance(reply, Plain) and reply.status >= 400:
            self.ledger.refused += 1
            return reply
        return reply if fault is None else spoiled(reply, fault, route.dialect)


async def _never_answered(fault: Fault, delivery: Delivery) -> None:
    if fault.kind is Kind.RESET:
        await delivery.reset_connection()
        return
    await delivery.pause(fault.wait)
    delivery.end_connection()


async def _read(scope: Mapping[str, Any], receive: Receive) -> Request:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        parsed = json.loads(body) if body else None
    except ValueError:
        parsed = None
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        method=scope["method"],
        path=scope["path"],
        raw_path=scope["raw_path"].decode("latin-1"),
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers=headers,
        body=body,
        json=parsed,
    )
