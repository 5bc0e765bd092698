"""Identifiers of persons: what is masked, exactly, and what is left alone."""

from __future__ import annotations

import gc
import random
import socket
from pathlib import Path

import psutil
import pytest

from moorage.guardrails.pii import ENTITIES, PiiDetector
from moorage.guardrails.verdict import mask

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def detector() -> PiiDetector:
    return PiiDetector()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail me at jo.doe+x@mail.example.co.uk.", "mail me at <EMAIL_ADDRESS>."),
        ("<Jo_Doe@Example.COM>, anna@corp.internal", "<<EMAIL_ADDRESS>>, <EMAIL_ADDRESS>"),
        ("müller.x@firma.example.de", "<EMAIL_ADDRESS>"),
        ("我的邮箱是jo@example.com谢谢", "我的邮箱是<EMAIL_ADDRESS>谢谢"),
        ("call 212-555-0187 now", "call <PHONE_NUMBER> now"),
        ("+1 (415) 555-2671", "<PHONE_NUMBER>"),
        ("in Berlin +49 30 901820, in London +44 20 7946 0958", "in Berlin <PHONE_NUMBER>, in London <PHONE_NUMBER>"),
        ("my number is 4155552671", "my number is <PHONE_NUMBER>"),
        ("Tel: 030/1234567", "Tel: <PHONE_NUMBER>"),
        ("card 4111 1111 1111 1111 ok", "card <CREDIT_CARD> ok"),
        ("4111-1111-1111-1111", "<CREDIT_CARD>"),
        ("4111111111111111", "<CREDIT_CARD>"),
        ("378282246310005", "<CREDIT_CARD>"),
        ("card ４１１１１１１１１１１１１１１１", "card <CREDIT_CARD>"),
        ("card 4111\u00a01111\u00a01111\u00a01111", "card <CREDIT_CARD>"),
        ("his SSN is 536-90-4399", "his SSN is <US_SSN>"),
        ("My social security number is 536904399", "My social security number is <US_SSN>"),
        ("bank account 945456787654", "bank account <US_BANK_NUMBER>"),
        ("ITIN 911-70-1234", "ITIN <US_ITIN>"),
        ("passport 912803456", "passport <US_PASSPORT>"),
        ("IBAN DE89370400440532013000", "IBAN <IBAN_CODE>"),
        ("DE89 3704 0044 0532 0130 00", "<IBAN_CODE>"),
        ("from 192.168.1.17 and 2001:db8::1", "from <IP_ADDRESS> and <IP_ADDRESS>"),
        ("pay to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "pay to <CRYPTO>"),
        ("a@b.de, then 212-555-0187", "<EMAIL_ADDRESS>, then <PHONE_NUMBER>"),
    ],
)
def test_what_is_found_is_masked_and_nothing_beside_it(detector: PiiDetector, text: str, masked: str) -> None:
    assert mask(text, detector.spans(text)) == masked


def test_each_kind_of_identifier_is_in_the_table() -> None:
    (cases,) = (
        mark.args[1]
        for mark in test_what_is_found_is_masked_and_nothing_beside_it.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    )
    assert {entity for entity in ENTITIES if any(f"<{entity}>" in masked for _, masked in cases)} == set(ENTITIES)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the checksum is wrong
        "2125550187 units were sold",
        "at 1700000000, that is 1700000000000 milliseconds",
        "version 1.2.3.4, chapter 4.1.2.3, package==1.2.3.4",
        "open http://127.0.0.1:8080 or 0.0.0.0 or ::1",
        "npm install react@18.2.0 and foo@1.2.3",
        "@media (min-width: 600px) { @include x; } user@localhost",
        "Order 123456789 of 2024-01-15 10:30:00.123456 costs 1,299.00 euros",
        "Please check order 12345678 before 12:30",
        "ISBN 978-3-16-148410-0, pi is 3.14159265358979",
        "id 00000000-0000-0000-0000-000000000000, commit 3f2a9c1b7d",
        "std::vector<int> a::b::c { 1, 2, 3, 4 }",
        "0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144",
        "In 1989 there were 16 states; in 1990, 15; by 2004, 25.",
        "The train leaves at 9:15 from platform 4 and arrives at 11:42.",
    ],
)
def test_ordinary_text_is_left_alone(detector: PiiDetector, text: str) -> None:
    assert detector.spans(text) == []


def test_the_documentation_of_this_project_has_no_persons_in_it(detector: PiiDetector) -> None:
    found, characters = [], 0
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if path.name == "guardrails.md":
            continue
        for line in path.read_text().splitlines():
            characters += len(line)
            found += [line[span.start : span.end] for span in detector.spans(line)]
    assert characters > 20_000
    unexpected = [one for one in found if "example" not in one and "localhost" not in one]
    assert len(unexpected) <= characters / 20_000, unexpected


def test_nothing_is_asked_of_the_network(detector: PiiDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"asked for {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert PiiDetector().spans("first@one.example") != []


def test_words_of_texts_are_not_kept(detector: PiiDetector) -> None:
    drawn = random.Random(1)

    def text() -> str:
        return "phone 12345 " + " ".join("".join(drawn.choices("abcdefghijklmnop", k=12)) for _ in range(150))

    def kept(rounds: int) -> int:
        for _ in range(rounds):
            detector.spans(text())
        gc.collect()
        return psutil.Process().memory_info().rss

    before = kept(50)
    # 300 x 150 words would stay in the vocabulary, with a lexeme of some hundred bytes each.
    assert kept(300) - before < 8 * 1024 * 1024
