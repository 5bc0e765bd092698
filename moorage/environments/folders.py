"""What lies under `DIR/environments`: built environments, the requests that led to them, and lock files."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_KEY = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class EnvironmentFolders:
    """The layout under `root`, and the two kinds of JSON file in it. Every file is replaced atomically."""

    root: Path

    def environment(self, key: str) -> Path:
        """The folder of the environment `key`.

        Raises:
            ValueError: `key` is no environment key.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no environment key")
        return self.root / key

    def python(self, key: str) -> Path:
        return self.environment(key) / "venv" / "bin" / "python"

    def ready_file(self, key: str) -> Path:
        """Present only when the environment is complete: it is written last."""
        return self.environment(key) / "ready.json"

    def lock_file(self, key: str) -> Path:
        return self.root / "locks" / f"{self.environment(key).name}.lock"

    def built_at(self, key: str) -> str | None:
        """When the environment became ready, as an ISO 8601 time; None without a valid record of it."""
        record = _read_record(self.ready_file(key))
        built = record.get("built")
        return built if record.get("key") == key and isinstance(built, str) else None

    def damage(self, key: str) -> str | None:
        """What is wrong with the environment, naming the file; None when it is ready."""
        ready, python = self.ready_file(key), self.python(key)
        if not ready.is_file():
            return f"{ready} is missing"
        if self.built_at(key) is None:
            return f"{ready} is no valid record of a finished build"
        if not os.access(python, os.X_OK):
            return f"{python} is missing or cannot be run"
        return None

    def mark_ready(self, key: str, *, python_version: str, packages: int) -> None:
        record = {
            "key": key,
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": python_version,
            "packages": packages,
        }
        _write_record(self.ready_file(key), record)

    def requested_key(self, request: str) -> str | None:
        """The key to which the request of this digest was resolved earlier."""
        key = _read_record(self._request_file(request)).get("key")
        return key if isinstance(key, str) and _KEY.fullmatch(key) else None

    def remember_request(self, request: str, key: str) -> None:
        path = self._request_file(request)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_record(path, {"key": key})

    def start(self, key: str) -> Path:
        """An empty folder for the environment, whatever an unfinished build left."""
        self.remove(key)
        folder = self.environment(key)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def remove(self, key: str) -> None:
        """Remove the environment, its readiness first, so that a half-removed one never counts as ready."""
        self.ready_file(key).unlink(missing_ok=True)
        folder = self.environment(key)
        if folder.exists():
            shutil.rmtree(folder)

    def forget_requests(self, key: str) -> None:
        for path in (self.root / "requests").glob("*.json"):
            if _read_record(path).get("key") == key:
                path.unlink(missing_ok=True)

    def _request_file(self, request: str) -> Path:
        return self.root / "requests" / f"{request}.json"


def _read_record(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_record(path: Path, record: dict[str, object]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
