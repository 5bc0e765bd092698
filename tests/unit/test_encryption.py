"""Encryption of values: what opens where, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.encryption import (
    KEY_BYTES,
    SEALED_PREFIX,
    BadKey,
    CannotDecrypt,
    Encryption,
    key_text,
    new_key,
    parse_key,
    same_key_id,
)

OLD, NEW = bytes(KEY_BYTES), bytes(range(KEY_BYTES))
VALUE = b"hunter2 hunter2"
OVERHEAD = 1 + 4 + 12 + 16  # version, key id, nonce, tag


@given(st.binary(max_size=300), st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_what_was_encrypted_for_a_place_opens_there(value: bytes, context: list[str]) -> None:
    encryption = Encryption(OLD)
    ciphertext = encryption.encrypt(value, *context)
    assert len(ciphertext) == len(value) + OVERHEAD
    assert encryption.decrypt(ciphertext, *context) == value


def test_equal_values_have_different_ciphertexts_that_hold_neither_value_nor_key() -> None:
    key = new_key()
    made = {Encryption(key).encrypt(VALUE, "secret", "s", "k") for _ in range(50)}
    assert len(made) == 50
    assert not any(VALUE in one or key[:8] in one for one in made)


@pytest.mark.parametrize(
    "context",
    [
        ("secret", "team", "other"),
        ("secret", "other", "key"),
        ("sealed", "team", "key"),
        ("secret", "tea", "mkey"),
        ("secret", "team", "key", ""),
        ("secret", "teamkey"),
        ("secret\0team", "key"),
        (),
    ],
)
def test_it_opens_in_no_other_place(context: tuple[str, ...]) -> None:
    encryption = Encryption(OLD)
    ciphertext = encryption.encrypt(VALUE, "secret", "team", "key")
    with pytest.raises(CannotDecrypt) as failure:
        encryption.decrypt(ciphertext, *context)
    assert VALUE.decode() not in str(failure.value)


def test_a_change_of_any_bit_is_noticed() -> None:
    encryption = Encryption(OLD)
    ciphertext = encryption.encrypt(VALUE, "s")
    for place in range(len(ciphertext)):
        changed = bytearray(ciphertext)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(CannotDecrypt):
            encryption.decrypt(bytes(changed), "s")


@pytest.mark.parametrize("length", [0, 1, 4, 5, 16, 17, 32, OVERHEAD, OVERHEAD + len(VALUE) - 1])
def test_a_part_of_a_ciphertext_is_damaged(length: int) -> None:
    encryption = Encryption(OLD)
    with pytest.raises(CannotDecrypt):
        encryption.decrypt(encryption.encrypt(VALUE)[:length])


def test_the_version_and_the_key_id_are_bound_to_the_rest() -> None:
    both = Encryption(NEW, OLD)
    ciphertext, other = Encryption(OLD).encrypt(VALUE), Encryption(NEW).encrypt(VALUE)
    with pytest.raises(CannotDecrypt, match="damaged"):
        both.decrypt(other[:5] + ciphertext[5:])
    with pytest.raises(CannotDecrypt):
        both.decrypt(b"\x02" + ciphertext[1:])


def test_while_a_key_replaces_another_both_open_and_the_new_one_encrypts() -> None:
    before, between, after = Encryption(OLD), Encryption(NEW, OLD), Encryption(NEW)
    ciphertext = before.encrypt(VALUE, "s")
    assert between.decrypt(ciphertext, "s") == VALUE
    renewed = between.encrypt(VALUE, "s")
    assert after.decrypt(renewed, "s") == VALUE
    for encryption, foreign in ((after, ciphertext), (before, renewed)):
        with pytest.raises(CannotDecrypt, match="another key"):
            encryption.decrypt(foreign, "s")


def test_a_sealed_text_opens_for_its_purpose_alone() -> None:
    encryption = Encryption(OLD)
    token = encryption.seal("external model/openai_api_key", "sk-Ünï-1")
    assert token.startswith(SEALED_PREFIX)
    assert token.isascii()
    assert "sk-" not in token
    assert encryption.open("external model/openai_api_key", token) == "sk-Ünï-1"
    with pytest.raises(CannotDecrypt, match="another place"):
        encryption.open("external model/anthropic_api_key", token)


def test_the_purpose_in_a_token_cannot_be_exchanged() -> None:
    encryption = Encryption(OLD)
    mine, theirs = encryption.seal("mine", "a"), encryption.seal("theirs", "b")
    forged = f"{mine.partition('.')[0]}.{theirs.partition('.')[2]}"
    with pytest.raises(CannotDecrypt):
        encryption.open("mine", forged)


@pytest.mark.parametrize(
    "text", ["", "sk-1", "YQ==.YQ==", *(SEALED_PREFIX + rest for rest in ("", "a", "YQ==.!", "a.b.c", "YQ==.é"))]
)
def test_another_text_is_no_sealed_value(text: str) -> None:
    with pytest.raises(CannotDecrypt):
        Encryption(OLD).open("a", text)


def test_sealing_anew_keeps_text_and_purpose_under_the_new_key() -> None:
    token = Encryption(NEW, OLD).reseal(Encryption(OLD).seal("p", "text"))
    assert Encryption(NEW).open("p", token) == "text"
    with pytest.raises(CannotDecrypt, match="another key"):
        Encryption(OLD).open("p", token)


def test_a_key_survives_its_text() -> None:
    key = new_key()
    assert len(key) == KEY_BYTES
    assert parse_key(key_text(key)) == key
    assert parse_key(f"  {key_text(key)}\n") == key
    assert not same_key_id(key, OLD)
    assert same_key_id(key, bytes(key))


@pytest.mark.parametrize(
    "text", ["", "short", "=" * 44, "é" * 44, "!" * 43 + "=", key_text(NEW)[:-4], key_text(NEW) + "AAAA"]
)
def test_another_text_is_no_key_and_is_not_repeated(text: str) -> None:
    with pytest.raises(BadKey) as failure:
        parse_key(text)
    assert not text or text not in str(failure.value)
