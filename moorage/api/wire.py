"""What every request and answer object of the API shares: how it is read, and the words its errors use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

INT64_MAX = 2**63 - 1
MISSING_FIELD = "missing_field"
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_NAME = 63


class WireInput(BaseModel):
    """A request object: unknown fields are ignored, an explicit null is an absent field.

    Numbers and booleans may be given as text ("90", "false"), as the published examples do.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, document: Any) -> Any:
        if isinstance(document, dict):
            return {key: value for key, value in document.items() if value is not None}
        return document


class WireOutput(BaseModel):
    """An answer object. Fields that are None are left out of the JSON."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Empty(WireOutput):
    """`{}`: done, nothing to say."""


def missing_field(field: str) -> PydanticCustomError:
    """The error of a model-level rule that finds `field` absent; it reads like any other missing field."""
    return PydanticCustomError(MISSING_FIELD, "Missing required field '{field}'", {"field": field})


def _storable(text: str) -> str:
    """JSON can spell text that no database keeps: a NUL, and halves of surrogate pairs."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("string_unicode", "Expected valid Unicode text")
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Expected an integer")
    return value


def check_name(name: str) -> str:
    """The rule for names of endpoints and served entities.

    Raises:
        ValueError: not 1 to 63 letters, digits, underscores or dashes.
    """
    if not 1 <= len(name) <= _LONGEST_NAME or not _ALPHABET.issuperset(name):
        raise ValueError("must be 1 to 63 characters long and hold only letters, digits, '_' and '-'")
    return name


def name_from(text: str, suffix: str = "") -> str:
    """`text` and `suffix` made a legal name: other characters become `-`, and `text` is cut to fit."""
    legal = "".join(character if character in _ALPHABET else "-" for character in text + suffix)
    kept = len(legal) - len(suffix)
    return legal[: min(kept, _LONGEST_NAME - len(suffix))] + legal[kept:]


Text = Annotated[str, AfterValidator(_storable)]
ShortText = Annotated[Text, Field(min_length=1, max_length=255)]
Name = Annotated[str, AfterValidator(check_name)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=INT64_MAX)]
