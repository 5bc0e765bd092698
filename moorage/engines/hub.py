"""Fetches files of Hugging Face's hub, once: what is here is used without asking."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moorage.engines.weights import HUB, Kind, WeightsError, choose, parts_of

_PUBLIC = "https://huggingface.co"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_REVISION = re.compile(r"[\w.-]+", re.ASCII)
_ANSWER_SECONDS = 20.0
_SAY_SECONDS = 5.0
_OTHER_WEIGHTS = (".gguf", ".onnx", ".onnx_data", ".pth", ".pt", ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel")
"""Of a repository that is fetched as a whole: weights in forms that vLLM does not read."""
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`file` may be a folder where a folder is wanted; it is empty for the one file, or folder, that there is."""

    repository: str
    file: str
    revision: str | None
    kind: Kind

    def __str__(self) -> str:
        return HUB + self.repository + (f"/{self.file}" if self.file else "")


def fetch(words: str, kind: Kind, cache: Path, say: Callable[[str], None]) -> Path:
    """`words` are `ORGANISATION/REPOSITORY[/FILE][@REVISION]`.

    Without a file, the only one of that kind in the repository is taken.

    Raises:
        WeightsError: there is no such file, or the hub does not answer, and it is not here.
    """
    wanted = _parse(words, kind)
    folder = cache / "hub" / wanted.repository / (wanted.revision or "main")
    found = _remembered(folder, wanted)
    if found is not None:
        return found
    with _one_at_a_time:
        return _remembered(folder, wanted) or _download(wanted, folder, say)


def _parse(words: str, kind: Kind) -> _Wanted:
    path, at, revision = words.partition("@")
    pieces = path.split("/")
    repository, file = "/".join(pieces[:2]), "/".join(pieces[2:])
    if not _REPOSITORY.fullmatch(repository) or {".", "..", ""} & set(pieces):
        raise WeightsError(f"{HUB}{words} is not of the form {HUB}ORGANISATION/REPOSITORY[/FILE]")
    if at and not _REVISION.fullmatch(revision):
        raise WeightsError(f"{HUB}{words} does not end in the name of a revision")
    return _Wanted(repository, file, revision or None, kind)


def _note(folder: Path, wanted: _Wanted) -> Path:
    """Says that a download has come to its end, and what it brought."""
    return folder / ".fetched" / f"{wanted.file.replace('/', '--')}-{wanted.kind.name.lower()}.json"


def _remembered(folder: Path, wanted: _Wanted) -> Path | None:
    """What an earlier download has brought, when all of it is still there."""
    try:
        document = json.loads(_note(folder, wanted).read_bytes())
        names, result = list(document["files"]), str(document["result"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder / result if all((folder / name).is_file() for name in names) else None


def _download(wanted: _Wanted, folder: Path, say: Callable[[str], None]) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ModuleNotFoundError:
        raise WeightsError(
            f"{wanted} needs huggingface_hub, which is not installed (pip install huggingface_hub)"
        ) from None
    endpoint = os.environ.get("HF_ENDPOINT", _PUBLIC).rstrip("/")
    disable_progress_bars()
    try:
        about = huggingface_hub.HfApi(endpoint=endpoint).model_info(
            wanted.repository, revision=wanted.revision, timeout=_ANSWER_SECONDS, files_metadata=True
        )
        sizes = {one.rfilename: one.size or 0 for one in about.siblings or ()}
        names, result = _selected(wanted, set(sizes))
        total = sum(sizes[name] for name in names)
        say(f"fetching {_count(names)} of {wanted.repository} from {endpoint}, {total / 1e6:.0f} MB")
        with _progress(folder, total, say):
            for name in names:
                huggingface_hub.hf_hub_download(
                    wanted.repository, name, revision=about.sha, local_dir=folder, endpoint=endpoint
                )
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(_in_words(wanted, endpoint, error)) from error
    _remember(_note(folder, wanted), {"files": names, "result": result, "revision": about.sha})
    say(f"fetched {wanted.repository}, revision {about.sha}")
    return folder / result


def _selected(wanted: _Wanted, names: set[str]) -> tuple[list[str], str]:
    """The files to fetch, and what of them is asked for, which is a folder when that is the kind."""
    if wanted.kind is Kind.FOLDER:
        within = {name for name in names if name.startswith(f"{wanted.file}/")} if wanted.file else names
        folder = choose(within, Kind.FOLDER, str(wanted)).rpartition("/")[0]
        there = {name for name in names if name.rpartition("/")[0] == folder}
        has_safetensors = any(name.endswith(".safetensors") for name in there)
        unwanted = (*_OTHER_WEIGHTS, ".bin") if has_safetensors else _OTHER_WEIGHTS
        return sorted(name for name in there if not name.endswith(unwanted)), folder
    if wanted.file and wanted.file not in names:
        raise WeightsError(f"{HUB}{wanted.repository} has no file {wanted.file}")
    first = wanted.file or choose(names, wanted.kind, str(wanted))
    parts = parts_of(first, names)
    missing = sorted(set(parts) - names)
    if missing:
        raise WeightsError(f"{HUB}{wanted.repository} has no file {missing[0]}, which is a part of {first}")
    return parts, first


@contextlib.contextmanager
def _progress(folder: Path, total: int, say: Callable[[str], None]) -> Iterator[None]:
    """Says every few seconds how much there is."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SAY_SECONDS):
            say(f"{min(_bytes_in(folder), total) / 1e6:.0f} of {total / 1e6:.0f} MB are here")

    thread = threading.Thread(target=look, name="moorage-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bytes_in(folder: Path) -> int:
    """What is there, unfinished files included; these come and go."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += (Path(parent) / name).lstat().st_size
    return size


def _remember(note: Path, document: dict[str, object]) -> None:
    note.parent.mkdir(exist_ok=True)
    temporary = note.with_suffix(".tmp")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(note)


def _in_words(wanted: _Wanted, endpoint: str, error: Exception) -> str:
    """For somebody who wants to know what to do about it."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{wanted} needs its owner's leave: ask for it at {endpoint}/{wanted.repository}, and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {wanted.repository} at {endpoint}, or it is private and needs HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{HUB}{wanted.repository} has no revision {wanted.revision}"
    if isinstance(error, errors.HfHubHTTPError):
        return f"{wanted} cannot be fetched: {endpoint} answers: {_first_line(error)}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return f"{wanted} cannot be fetched: {error}"
    return (
        f"{wanted} cannot be fetched: this machine does not reach {endpoint} ({_first_line(error)}). Fetch its files "
        "on another machine and give their path, or set HF_ENDPOINT to a mirror"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _count(names: list[str]) -> str:
    return "1 file" if len(names) == 1 else f"{len(names)} files"
