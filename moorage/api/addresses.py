"""Addresses that no endpoint may make this server call unless its settings say so.

At link-local addresses, and at a few others, clouds tell a machine its own credentials. Whoever may create an
endpoint chooses its base URL, and would get at them through this server.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from moorage.api.wire import Text

_FORBIDDEN_NETWORKS = tuple(
    ip_network(one)
    for one in (
        "169.254.0.0/16",  # link-local: AWS, Azure, Google Cloud, OpenStack and others
        "fe80::/10",
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # Google Cloud
        "100.100.100.200/32",  # Alibaba Cloud
    )
)
_FORBIDDEN_HOSTS = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_NAT64 = ip_network("64:ff9b::/96")
_LONGEST_URL = 2048


def is_forbidden_address(ip: str) -> bool:
    """Whether that is an IP address of link-local or metadata services, in whatever form IPv6 has to wrap it."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    return any(one in network for one in _forms(address) for network in _FORBIDDEN_NETWORKS)


def is_forbidden_host(host: str) -> bool:
    """Whether a host, as a URL has it, is such an address or a name by which one is reached. Resolves nothing."""
    name = host.lower().rstrip(".")
    if name in _FORBIDDEN_HOSTS or is_forbidden_address(name):
        return True
    try:
        # What resolvers take for an address too: `2852039166`, `0xa9.0xfe.43518`.
        return is_forbidden_address(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, UnicodeEncodeError):
        return False


def host_of(url: str) -> str:
    """The host of a URL that `BaseUrl` takes."""
    return urlsplit(url).hostname or ""


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, and those of IPv4 that it stands for."""
    forms = [address]
    if isinstance(address, IPv6Address):
        wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            wrapped.append(IPv4Address(int(address) & 0xFFFFFFFF))
        forms += [one for one in wrapped if one is not None]
    return forms


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket too many
        usable = False
    if not usable or not url.isprintable() or any(character in " \\" for character in url):
        raise ValueError("must be an http:// or https:// URL of a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; give credentials in their own fields")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return url


BaseUrl = Annotated[Text, Field(min_length=1, max_length=_LONGEST_URL), AfterValidator(_base_url)]
"""Where a provider is reached. Whether this server may go there, `is_forbidden_host` says."""
