"""The audit log of the running server."""

from __future__ import annotations

import json

import httpx
from server import OTHER_TOKEN, OTHER_USER

LOG = "/api/2.0/audit-log"


def test_what_a_user_did_is_there_with_their_address_and_request(server):
    headers = {"Authorization": f"Bearer {OTHER_TOKEN}", "x-request-id": "audited-request"}
    answer = httpx.post(f"{server.url}/api/2.0/token/create", headers=headers, json={"comment": "for the audit"})
    made = answer.json()
    assert answer.status_code == 200
    wanted = {"user_name": OTHER_USER, "action": "create_token"}
    entries = server.http.get(LOG, params=wanted).json()["entries"]
    [entry] = (one for one in entries if one["request_id"] == "audited-request")  # the user may have made others
    assert (entry["source_address"], entry["status"]) == ("127.0.0.1", 200)
    exported = [json.loads(line) for line in server.http.get(f"{LOG}/export", params=wanted).text.splitlines()]
    assert sorted(exported, key=json.dumps) == sorted(entries, key=json.dumps)
    assert made["token_value"] not in json.dumps(entry)
    token_id = {"token_id": made["token_info"]["token_id"]}
    assert httpx.post(f"{server.url}/api/2.0/token/delete", headers=headers, json=token_id).status_code == 200


def test_a_client_cannot_say_where_it_comes_from(server):
    headers = {"Authorization": f"Bearer {OTHER_TOKEN}", "x-moorage-client": "203.0.113.9"}
    answer = httpx.delete(f"{server.url}/api/2.0/serving-endpoints/not-there", headers=headers)
    assert answer.status_code == 404
    [entry] = server.http.get(LOG, params={"object_id": "not-there"}).json()["entries"]
    assert (entry["source_address"], entry["status"]) == ("127.0.0.1", 404)


def test_the_log_is_not_for_everybody(server):
    assert httpx.get(f"{server.url}{LOG}", headers={"Authorization": f"Bearer {OTHER_TOKEN}"}).status_code == 403
