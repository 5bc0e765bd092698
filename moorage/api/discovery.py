"""What a client reads about a host before its first call. Source: databricks-sdk, host metadata discovery."""

from __future__ import annotations

from moorage.api.wire import WireOutput


class HostMetadata(WireOutput):
    """`/.well-known/databricks-config`. `workspace_id` is digits."""

    oidc_endpoint: str
    workspace_id: str
    host_type: str = "WORKSPACE_HOST"
