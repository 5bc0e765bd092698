"""`moorage models`: the catalogue of models that a server of this machine runs by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from moorage.cli.configuration import BadConfiguration, load_settings
from moorage.cli.output import OutputFormat, table, write, write_error, write_json

if TYPE_CHECKING:
    from moorage.api.engines import CatalogueEntry, Engine
    from moorage.datadir import DataDirectory

app = typer.Typer(
    help="Language and embedding models that this machine runs, each at an endpoint of its own",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FAILED = 1
_CONFIGURATION = 2
_CHAT, _EMBEDDINGS = "llm/v1/chat", "llm/v1/embeddings"

DataDir = Annotated[Path | None, typer.Option(help="Of the server (default ~/.moorage)")]
Name = Annotated[str, typer.Argument(help="Of the endpoint")]
Source = Annotated[
    str,
    typer.Argument(help="A path, package:DISTRIBUTION, hf:ORGANISATION/REPOSITORY[/FILE] or models:/NAME/VERSION"),
]


@app.command("list")
def list_models(
    data_dir: DataDir = None,
    output: Annotated[OutputFormat, typer.Option("--output", "-o", help="text or json")] = OutputFormat.TEXT,
) -> None:
    """List the models of the catalogue"""
    from moorage.engines import catalogue, weights

    try:
        entries = catalogue.read(_data(data_dir).catalogue)
    except catalogue.CatalogueError as error:
        _fail(str(error), _FAILED)
    if output is OutputFormat.JSON:
        write_json({"models": [entry.model_dump(mode="json", exclude_none=True) for entry in entries]})
        return
    header = ("NAME", "TASK", "ENGINE", "CONTEXT", "SLOTS", "LICENCE", "WEIGHTS")
    rows = [
        (
            entry.name,
            entry.task.value,
            entry.engine.value,
            str(entry.context),
            str(entry.slots),
            entry.licence or "",
            entry.weights,
        )
        for entry in entries
    ]
    write(table(header, rows))
    for entry in entries:
        for source in filter(None, (entry.weights, entry.tokenizer)):
            missing = weights.why_missing(source)
            if missing:
                write_error(f"{entry.name} has no endpoint: {missing}")


@app.command()
def add(
    name: Name,
    source: Source,
    data_dir: DataDir = None,
    task: Annotated[
        str | None, typer.Option(help="llm/v1/chat, llm/v1/completions or llm/v1/embeddings (default by the engine)")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="llama.cpp, onnx or vllm (default by the files)")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of one request (default 2048)")] = None,
    slots: Annotated[int | None, typer.Option(help="Requests that are worked on at a time (default 4)")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, shown in lists")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="For onnx (default beside the model)")] = None,
    pooling: Annotated[str | None, typer.Option(help="Of embeddings: mean, cls or last")] = None,
) -> None:
    """Add a model to the catalogue, or replace the one of that name"""
    from pydantic import ValidationError

    from moorage.api.engines import CatalogueEntry, Engine
    from moorage.api.validation import error_from
    from moorage.engines import catalogue, weights

    data = _data(data_dir)
    if not data.root.is_dir():
        _fail(f"no Moorage server has started in {data.root} yet", _FAILED)
    try:
        where = _as_source(source)
        chosen = engine or _engine_of(where).value
        found_tokenizer = _as_source(tokenizer) if tokenizer else None
        if chosen == Engine.ONNX and found_tokenizer is None:
            found_tokenizer = _tokenizer_of(where)
        document = {
            "name": name,
            "entity_name": f"system.ai.{name.replace('-', '_')}",
            "display_name": name,
            "licence": licence,
            "engine": chosen,
            "weights": where,
            "tokenizer": found_tokenizer,
            "task": task or (_EMBEDDINGS if chosen == Engine.ONNX else _CHAT),
            "context": context,
            "slots": slots,
            "pooling": pooling,
        }
        entry = CatalogueEntry.model_validate(document)
        _check_files(entry)
        catalogue.add(data.catalogue, entry)
    except ValidationError as error:
        _fail(error_from(error.errors()).message, _CONFIGURATION)
    except weights.WeightsError as error:
        _fail(str(error), _FAILED)
    except catalogue.CatalogueError as error:
        _fail(str(error), _FAILED)
    write(f"Added {name} ({entry.engine}, {entry.task}). A running server takes it in within seconds")


@app.command()
def remove(name: Name, data_dir: DataDir = None) -> None:
    """Take a model out of the catalogue; its endpoint goes too"""
    from moorage.engines import catalogue

    data = _data(data_dir)
    if not data.root.is_dir():
        _fail(f"no Moorage server has started in {data.root} yet", _FAILED)
    try:
        there = catalogue.remove(data.catalogue, name)
    except catalogue.CatalogueError as error:
        _fail(str(error), _FAILED)
    if not there:
        _fail(f"the catalogue has no model {name}", _FAILED)
    write(f"Removed {name}. A running server takes its endpoint away within seconds")


def _as_source(words: str) -> str:
    """What a path means where the command is called must be said for the server.

    Raises:
        WeightsError: there is no such thing.
    """
    from moorage.engines import weights

    path = Path(words).expanduser()
    source = str(path.resolve()) if not words.startswith((weights.PACKAGE, weights.HUB, weights.REGISTRY)) else words
    missing = weights.why_missing(source)
    if missing:
        raise weights.WeightsError(missing if path.is_absolute() or source == words else _no_such(words))
    return source


def _no_such(words: str) -> str:
    from moorage.engines import weights

    hint = f"; a repository of Hugging Face's hub is {weights.HUB}{words}" if words.count("/") == 1 else ""
    return f"there is no file {words}{hint}"


def _engine_of(source: str) -> Engine:
    """By what lies there; llama.cpp where that cannot be seen yet."""
    from moorage.api.engines import Engine
    from moorage.engines import weights

    if source.startswith((weights.HUB, weights.REGISTRY)):
        return Engine.ONNX if source.partition("@")[0].endswith(".onnx") else Engine.LLAMA_CPP
    for engine, kind in weights.KIND_OF.items():
        try:
            weights.find(source, kind, Path(), write_error)
        except weights.WeightsError:
            continue
        return engine
    raise weights.WeightsError(f"{source} has neither one .gguf file nor one .onnx file, nor a config.json")


def _tokenizer_of(source: str) -> str | None:
    """Beside the weights, or in the same package or repository; the engine finds that of a registered model.

    Raises:
        WeightsError: it is not there.
    """
    from moorage.engines import weights

    if source.startswith(weights.REGISTRY):
        return None
    if source.startswith(weights.HUB):
        repository = "/".join(source.removeprefix(weights.HUB).partition("@")[0].split("/")[:2])
        _, at, revision = source.partition("@")
        return f"{weights.HUB}{repository}{at}{revision}"
    place = str(Path(source).parent) if Path(source).is_file() else source
    try:
        found = weights.find(place, weights.Kind.TOKENIZER, Path(), write_error)
        return place if place.startswith(weights.PACKAGE) else str(found)
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{error}; say where it is with --tokenizer") from error


def _check_files(entry: CatalogueEntry) -> None:
    """What lies on this machine must be what the engine takes; what is elsewhere is fetched when it is wanted.

    Raises:
        WeightsError: it is not.
    """
    from moorage.engines import weights

    wanted = [(entry.weights, weights.KIND_OF[entry.engine])]
    if entry.tokenizer is not None:
        wanted.append((entry.tokenizer, weights.Kind.TOKENIZER))
    for source, kind in wanted:
        if not source.startswith((weights.HUB, weights.REGISTRY)):
            weights.find(source, kind, Path(), write_error)


def _data(data_dir: Path | None) -> DataDirectory:
    from moorage.datadir import DataDirectory

    try:
        return DataDirectory(load_settings(data_dir=data_dir).data_dir)
    except BadConfiguration as error:
        _fail(str(error), _CONFIGURATION)


def _fail(message: str, status: int) -> NoReturn:
    write_error(f"error: {message}")
    raise typer.Exit(status)
