"""Base URLs, and the addresses that they must not lead to."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from moorage.api.addresses import BaseUrl, host_of, is_forbidden_address, is_forbidden_host
from moorage.api.external_models import _CONFIG_TYPES
from moorage.control.external_models import _URLS

URL = TypeAdapter(BaseUrl)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://169.254.169.254.:80",
        "http://169.254.0.1",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[febf:ffff::1]/",
        "http://[fd00:ec2::254]/",
        "http://[FD00:0EC2:0::0254]/",
        "http://2852039166/",
        "http://0xA9FEA9FE/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://100.100.100.200/",
        "https://metadata.google.internal/computeMetadata/v1",
        "https://METADATA.google.internal./x",
        "http://metadata/",
    ],
)
def test_what_leads_to_a_metadata_service_is_forbidden(url: str) -> None:
    assert is_forbidden_host(host_of(URL.validate_python(url)))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434/v1",
        "http://10.1.2.3",
        "http://[::1]:8000",
        "http://[fec0::1]",
        "http://[fd00:ec2::253]",
        "http://169.253.255.255",
        "http://169.255.0.0",
        "https://169.254.example.com",
        "https://metadata.example.com",
        "http://1234",
        "https://bücher.example",
    ],
)
def test_other_hosts_are_allowed(url: str) -> None:
    assert not is_forbidden_host(host_of(URL.validate_python(url)))


@pytest.mark.parametrize("text", ["", "localhost", "169.254.169", "fe80::/10", "::ffff"])
def test_what_is_no_address_is_not_a_forbidden_one(text: str) -> None:
    assert not is_forbidden_address(text)


def test_an_address_of_a_connection_is_looked_at_with_its_zone() -> None:
    assert is_forbidden_address("fe80::1%eth0")
    assert is_forbidden_address("169.254.169.254")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "must be an http:// or https:// URL"),
        ("x.example.com", "must be an http:// or https:// URL"),
        ("https://", "must be an http:// or https:// URL"),
        ("https://x:99999", "must be an http:// or https:// URL"),
        ("https://x:0", "must be an http:// or https:// URL"),
        ("https://[::1", "must be an http:// or https:// URL"),
        ("https://x/a b", "must be an http:// or https:// URL"),
        ("https://x/\r\nhost: y", "must be an http:// or https:// URL"),
        ("https://x\\@y/", "must be an http:// or https:// URL"),
        ("https://user:secret@x", "must not hold a user name or password"),
        ("https://user@x", "must not hold a user name or password"),
        ("https://x/?a=b", "must not have a query or a fragment"),
        ("https://x/#a", "must not have a query or a fragment"),
    ],
)
def test_what_is_no_base_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        URL.validate_python(url)


def test_every_field_that_holds_a_url_is_known() -> None:
    """A provider's new base URL that nobody looks at would be a way to metadata services."""
    ends = ("_api_base", "_url", "_authority")
    fields = {field for config in _CONFIG_TYPES.values() for field in config.model_fields if field.endswith(ends)}
    assert fields == set(_URLS)
