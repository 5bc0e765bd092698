"""Sealed credentials open for their endpoint alone, with the key that is on disk now."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.api.external_models import Provider
from moorage.api.routing import ExternalRoute, credential_purpose
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption, key_text, new_key
from moorage.gateway.credentials import CredentialOpener, CredentialProblem
from moorage.settings import ENCRYPTION_KEY_VARIABLE

SECRET = "sk-very-secret"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


def put_key(data: DataDirectory) -> Encryption:
    key = new_key()
    data.encryption_key.write_text(key_text(key))
    return Encryption(key)


def route(encryption: Encryption, endpoint_id: str = "e1") -> ExternalRoute:
    sealed = encryption.seal(credential_purpose(endpoint_id), SECRET)
    return ExternalRoute(provider=Provider.OPENAI, model="m", options={}, credentials={"openai_api_key": sealed})


def problem(opener: CredentialOpener, endpoint_id: str, external: ExternalRoute) -> str:
    with pytest.raises(CredentialProblem) as found:
        opener.open(endpoint_id, external)
    assert SECRET not in str(found.value)
    return str(found.value)


def test_credentials_are_opened_for_their_endpoint(data: DataDirectory) -> None:
    external = route(put_key(data))
    assert CredentialOpener(data, {}).open("e1", external) == {"openai_api_key": SECRET}


def test_credentials_of_another_endpoint_are_refused(data: DataDirectory) -> None:
    opener, external = CredentialOpener(data, {}), route(put_key(data))
    assert "decrypted" in problem(opener, "e2", external)
    assert opener.open("e1", external), "a refusal leaves the key as it was"


def test_no_credentials_need_no_key(data: DataDirectory) -> None:
    assert CredentialOpener(data, {}).open("e1", ExternalRoute(provider=Provider.CUSTOM, model="m")) == {}


def test_a_replaced_key_is_read_at_once(data: DataDirectory) -> None:
    opener = CredentialOpener(data, {})
    before = route(put_key(data))
    assert opener.open("e1", before)
    after = route(put_key(data))
    assert opener.open("e1", after) == {"openai_api_key": SECRET}
    assert "decrypted" in problem(opener, "e1", before)
    assert opener.open("e1", after)


def test_the_variable_goes_before_the_file(data: DataDirectory) -> None:
    put_key(data)
    key = new_key()
    opener = CredentialOpener(data, {ENCRYPTION_KEY_VARIABLE: key_text(key)})
    assert opener.open("e1", route(Encryption(key)))


@pytest.mark.parametrize("content", [None, b"", b"no key", b"\xff\xfe"])
def test_a_key_that_cannot_be_read_is_a_problem_until_it_can(data: DataDirectory, content: bytes | None) -> None:
    external = route(Encryption(new_key()))
    if content is not None:
        data.encryption_key.write_bytes(content)
    opener = CredentialOpener(data, {})
    assert "key cannot be read" in problem(opener, "e1", external)
    assert opener.open("e1", route(put_key(data)))


@pytest.mark.parametrize("sealed", ["", "x", "moorage-sealed:1:", "moorage-sealed:1:AAAA", SECRET])
def test_what_was_never_sealed_is_refused(data: DataDirectory, sealed: str) -> None:
    put_key(data)
    external = ExternalRoute(provider=Provider.OPENAI, model="m", credentials={"openai_api_key": sealed})
    problem(CredentialOpener(data, {}), "e1", external)
