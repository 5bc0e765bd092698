"""Settings: the way to child processes and back, secrets, values that cannot be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from moorage.settings import EnvManager, Settings, scrubbed_environment

SECRET_URL = "https://user:pass@index.example/simple"


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MOORAGE_")]:
        monkeypatch.delenv(name)


def test_a_child_process_sees_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate(
        {
            "host": "::",
            "port": 9000,
            "data_dir": tmp_path,
            "gateway_workers": 3,
            "mlflow_uri": "http://mlflow.example/",
            "env_manager": "uv",
            "env_index_url": SECRET_URL,
            "env_extra_index_urls": (SECRET_URL, "https://two.example"),
            "env_find_links": ("/wheels", "/more"),
            "drain_seconds": 3.5,
            "strict_json": False,
        }
    )
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    assert Settings().env_manager is EnvManager.UV


def test_every_setting_reaches_the_environment() -> None:
    expected = {f"MOORAGE_{name.upper()}" for name, field in Settings.model_fields.items()}
    settings = Settings.model_validate(
        {
            "mlflow_uri": "http://a",
            "public_url": "http://b",
            "env_index_url": "http://c",
            "smtp_url": "smtp://d",
            "smtp_from": "moorage@example.com",
            "notification_webhook_url": "https://e",
            "notification_webhook_secret": "f",
            "redis_url": "redis://g",
            "tables_uri": "s3://bucket/tables",
            "tables_storage_options": '{"AWS_REGION": "eu-central-1"}',
            "oidc_issuer": "https://h",
            "oidc_client_id": "i",
            "oidc_client_secret": "j",
            "guardrails_model_dir": "/models",
            "guardrails_judge_endpoint": "judge",
            "guardrails_judge_model": "k",
            "guardrails_judge_token_file": "/token",
        }
    )
    assert set(settings.to_environment()) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"oidc_issuer": "http://idp.example.com", "oidc_client_id": "m"}, "https://"),
        ({"oidc_issuer": "idp.example.com", "oidc_client_id": "m"}, "https://"),
        ({"oidc_issuer": "https://idp.example.com"}, "MOORAGE_OIDC_CLIENT_ID"),
        ({"oidc_create_users": True}, "MOORAGE_OIDC_ALLOWED_DOMAINS"),
    ],
)
def test_a_sign_in_that_would_let_anybody_in_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(fields)


def test_a_provider_on_this_machine_needs_no_tls() -> None:
    fields = {"oidc_issuer": "http://127.0.0.1:9000", "oidc_client_id": "m", "oidc_allowed_domains": "a.com, b.com"}
    assert Settings.model_validate(fields).oidc_allowed_domains == ("a.com", "b.com")


def test_masked_settings_hold_no_secret_and_name_every_setting() -> None:
    settings = Settings.model_validate({"env_index_url": SECRET_URL, "env_extra_index_urls": SECRET_URL})
    masked = settings.masked()
    assert set(masked) == set(Settings.model_fields)
    assert "pass" not in str(masked)
    assert "*" in masked["env_index_url"]
    assert masked["port"] == "8080"


@pytest.mark.parametrize(
    "url", ["redis://:open-sesame@redis.example:6379/2", "rediss://me:open-sesame@[::1]", "unix:///run/redis.sock"]
)
def test_a_redis_url_is_kept_as_given_and_masked(url: str) -> None:
    settings = Settings.model_validate({"redis_url": url})
    assert settings.to_environment()["MOORAGE_REDIS_URL"] == url
    assert url not in f"{settings!r} {settings.masked()}"


def test_lists_are_given_with_spaces_or_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_ENV_FIND_LINKS", "/a, /b  /c")
    assert Settings().env_find_links == ("/a", "/b", "/c")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("gateway_workers", 0),
        ("mlflow_workers", 0),
        ("mlflow_uri", "sqlite:///x.db"),
        ("public_url", "moorage.example"),
        ("log_level", "LOUD"),
        ("env_manager", "conda"),
        ("redis_url", "http://localhost:6379"),
        ("redis_url", "redis://"),
        ("redis_url", "redis://localhost:port"),
        ("redis_url", "unix://"),
        ("max_request_bytes", 0),
        ("drain_seconds", -1),
        ("request_timeout_seconds", 0),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as failure:
        Settings.model_validate({name: value})
    assert failure.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize(
    ("host", "public_url", "base_url", "local_url"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", None, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("::", None, "http://[::1]:8080", "http://[::1]:8080"),
        ("::1", None, "http://[::1]:8080", "http://[::1]:8080"),
        ("10.0.0.1", "https://moorage.example/", "https://moorage.example", "http://10.0.0.1:8080"),
    ],
)
def test_urls_follow_host_and_public_url(host: str, public_url: str | None, base_url: str, local_url: str) -> None:
    settings = Settings(host=host, public_url=public_url)
    assert (settings.base_url, settings.local_url) == (base_url, local_url)


def test_a_relative_data_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(data_dir=Path("data")).data_dir == tmp_path / "data"


def test_other_programs_see_nothing_of_ours_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOORAGE_ENCRYPTION_KEY", "DATABRICKS_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    seen = scrubbed_environment()
    assert "PATH" in seen
    assert seen["LC_ALL"] == "C.UTF-8"
    assert not {"MOORAGE_ENCRYPTION_KEY", "DATABRICKS_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(seen)


def test_secrets_of_notifications_are_masked() -> None:
    settings = Settings.model_validate(
        {
            "smtp_url": "smtps://me:open-sesame@mail.example.com",
            "smtp_from": "moorage@example.com",
            "notification_webhook_url": "https://hooks.example.com/open-sesame",
            "notification_webhook_secret": "open-sesame",
        }
    )
    assert "open-sesame" not in f"{settings!r} {settings.masked()}"
    assert settings.to_environment()["MOORAGE_SMTP_URL"] == "smtps://me:open-sesame@mail.example.com"


@pytest.mark.parametrize(
    "given",
    [
        {"smtp_url": "open-sesame", "smtp_from": "a@b"},
        {"smtp_url": "http://open-sesame", "smtp_from": "a@b"},
        {"smtp_url": "smtp://open-sesame@", "smtp_from": "a@b"},
        {"smtp_url": "smtp://host:open-sesame", "smtp_from": "a@b"},
        {"smtp_url": "smtp://host:0", "smtp_from": "a@b"},
        {"smtp_url": "smtp://open-sesame"},
        {"smtp_from": "a@b\r\nBcc: c@d"},
        {"smtp_from": "nobody"},
        {"notification_webhook_url": "open-sesame"},
        {"notification_webhook_url": "https://"},
        {"notification_attempts": 0},
    ],
)
def test_notifications_that_cannot_be_sent_are_refused_without_showing_secrets(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(given)
    assert "open-sesame" not in str(refused.value)
