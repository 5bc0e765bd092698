"""Filters of SCIM lists against an oracle in plain Python, and what is said of those that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.control.scim.filters import InvalidFilter, parse_filter
from moorage.control.scim.schemas import GROUP, SERVICE_PRINCIPAL, USER

Tree = tuple[Any, ...]
Document = dict[str, Any]

# Few letters, so that texts meet; with case, a quote, a backslash, parentheses, a keyword and what folds to two.
texts = st.text('aAbß"\\( \n', max_size=4) | st.sampled_from(["and", "ann@example.com", "ANN@EXAMPLE.COM", "true"])
documents = st.fixed_dictionaries(
    {
        "userName": texts,
        "active": st.booleans(),
        "emails": st.lists(st.fixed_dictionaries({"value": texts}), max_size=3),
    },
    optional={"name": st.fixed_dictionaries({}, optional={"givenName": texts}), "externalId": texts},
)
HELD: dict[str, Callable[[Document], list[Any]]] = {
    "userName": lambda d: [d["userName"]],
    "externalId": lambda d: [d["externalId"]] if "externalId" in d else [],
    "emails": lambda d: [email["value"] for email in d["emails"]],
    "emails.value": lambda d: [email["value"] for email in d["emails"]],
    "name.givenName": lambda d: [d["name"]["givenName"]] if "givenName" in d.get("name", {}) else [],
    "active": lambda d: [d["active"]],
}
comparisons = (
    st.tuples(st.sampled_from(sorted(HELD.keys() - {"active"})), st.sampled_from(["eq", "ne", "co", "sw"]), texts)
    | st.tuples(st.just("active"), st.sampled_from(["eq", "ne"]), st.booleans())
    | st.tuples(st.sampled_from(sorted(HELD)), st.just("pr"))
)
trees: st.SearchStrategy[Tree] = st.recursive(
    comparisons,
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=8,
)


def expected(tree: Tree, document: Document) -> bool:
    match tree:
        case ("not", inner):
            return not expected(inner, document)
        case ("and", parts):
            return all(expected(part, document) for part in parts)
        case ("or", parts):
            return any(expected(part, document) for part in parts)
        case (name, "pr"):
            return [held for held in HELD[name](document) if held != ""] != []
    name, operator, wanted = tree
    held = [one.casefold() if isinstance(one, str) else one for one in HELD[name](document)]
    wanted = wanted.casefold() if isinstance(wanted, str) else wanted
    if operator in ("eq", "ne"):
        return (wanted in held) == (operator == "eq")
    if operator == "co":
        return any(wanted in one for one in held)
    return any(one.startswith(wanted) for one in held)


def spelled(tree: Tree, odd: Callable[[str], str]) -> str:
    """The tree with no more parentheses than it needs, names and words in odd cases of letters."""
    match tree:
        case ("not", inner):
            return f"{odd('not')} ( {spelled(inner, odd)})"
        case ("and", parts):
            return f" {odd('and')} ".join(
                f"({spelled(part, odd)})" if part[0] == "or" else spelled(part, odd) for part in parts
            )
        case ("or", parts):
            return f" {odd('or')}  ".join(spelled(part, odd) for part in parts)
        case (name, "pr"):
            return f"{odd(name)} {odd('pr')}"
    name, operator, wanted = tree
    return f"{odd(name)} {odd(operator)} {json.dumps(wanted, ensure_ascii=False)}"


@settings(max_examples=300)
@given(trees, documents, st.randoms(use_true_random=False))
def test_a_filter_finds_what_plain_python_finds(tree: Tree, document: Document, random: Any) -> None:
    def odd(word: str) -> str:
        return "".join(random.choice((letter.upper(), letter.lower())) for letter in word)

    assert parse_filter(spelled(tree, odd), USER.leaf).matches(document) == expected(tree, document)


WORDS = ["userName", "active", "eq", "ne", "pr", "and", "or", "not", "(", ")", '"x"', "true", "1", "null", "\\", '"']


@given(st.text('ab ()[]"\\.\n') | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_a_filter_or_an_invalid_one(text: str) -> None:
    with suppress(InvalidFilter):
        parse_filter(text, USER.leaf).matches({"userName": "x", "active": True})


def matches(text: str, document: Document, schema: Any = USER) -> bool:
    return parse_filter(text, schema.leaf).matches(document)


@pytest.mark.parametrize(
    ("text", "schema", "found"),
    [
        ('members.value eq "7"', GROUP, True),
        ('members eq "8"', GROUP, True),
        ('members.value eq "9"', GROUP, False),
        ('MEMBERS.$REF sw "groups/"', GROUP, True),
        ('meta.resourceType eq "WorkspaceGroup"', GROUP, True),
        ('urn:ietf:params:scim:schemas:core:2.0:Group:members.value eq "7"', GROUP, True),
        ('groups.display eq "ADMINS"', USER, True),
        ('groups eq "1"', USER, True),
        ("active eq True", USER, True),
        ('active eq "true"', USER, True),
        ("active ne true", USER, False),
        ("emails pr", USER, False),
        ("externalId pr", USER, False),
        ('applicationId co "-4a"', SERVICE_PRINCIPAL, True),
        ('displayName eq "a \\u00e4 \\"b\\""', SERVICE_PRINCIPAL, True),
    ],
)
def test_lists_references_and_booleans_can_be_asked_for(text: str, schema: Any, found: bool) -> None:
    document = {
        "members": [{"value": "7", "$ref": "Users/7"}, {"value": "8", "$ref": "Groups/8"}],
        "meta": {"resourceType": "WorkspaceGroup"},
        "groups": [{"value": "1", "display": "admins"}],
        "active": True,
        "emails": [],
        "externalId": "",
        "applicationId": "x-4A-y",
        "displayName": 'a ä "b"',
    }
    assert matches(text, document, schema) is found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the name of an attribute but got the end"),
        ("userName", "expected an operator after 'userName' but got the end"),
        ("userName eq", "'userName' is compared with a text in double quotes, not with the end"),
        ("userName eq ann", "in double quotes, not with ann"),
        ("id eq 7", "in double quotes, not with 7"),
        ("userName eq null", "in double quotes, not with null"),
        ('userName gt "a"', "operator 'gt' is none of eq, ne, co, sw and pr"),
        ('salary eq "a"', "no attribute 'salary'"),
        ('members.value eq "a"', "no attribute 'members.value'"),
        ('name eq "a"', "no attribute 'name'"),
        ('emails.nosuch eq "a"', "no attribute 'emails.nosuch'"),
        ("active co true", "'active' is true or false, which co does not compare"),
        ('active eq "yes"', "'active' is compared with true or false, not with yes"),
        ('userName eq "a', "cannot be read from character 12 on"),
        ('emails[type eq "work"]', "cannot be read from character 7 on"),
        ('userName eq "\\x"', "wrong escape"),
        ('userName eq "a" userName eq "b"', "expected 'and', 'or' or the end but got userName"),
        ('userName eq "a" and', "expected the name of an attribute but got the end"),
        ('(userName eq "a"', "expected ')' but got the end"),
        ('userName eq "a")', "expected 'and', 'or' or the end but got )"),
        ('not userName eq "a"', "no attribute 'not'"),
        ("(" * 60 + "active pr" + ")" * 60, "more than 50 parentheses"),
    ],
)
def test_a_wrong_filter_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse_filter(text, USER.leaf)
    assert reason in refused.value.message
    assert refused.value.status == 400
    assert refused.value.body()["scimType"] == "invalidFilter"


def test_many_parts_in_a_row_need_no_depth() -> None:
    text = " or ".join(f'userName eq "u{number}"' for number in range(5000))
    assert matches(text, {"userName": "U4999"})
    assert not matches(text, {"userName": "U5000"})
