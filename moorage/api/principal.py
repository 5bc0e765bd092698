"""The header in which the gateway tells the control plane who calls: base64 of the principal's JSON."""

from __future__ import annotations

import base64
import binascii

from pydantic import ValidationError

from moorage.api.routing import Principal


def encode_principal(principal: Principal) -> str:
    """The value of `PRINCIPAL_HEADER`."""
    return base64.b64encode(principal.model_dump_json().encode()).decode("ascii")


def decode_principal(header: str) -> Principal | None:
    """The principal of a header's value, or None when it is not one."""
    try:
        return Principal.model_validate_json(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError, ValidationError):
        return None
