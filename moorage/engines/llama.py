"""llama.cpp's server in this process, by way of xllamacpp: GGUF files, continuous batching, OpenAI's API."""

from __future__ import annotations

import os
import re
import signal
import time

import xllamacpp

from moorage.engines.config import EMBEDDINGS, EngineConfig
from moorage.engines.process import EngineError
from moorage.engines.sockets import first_name

_POOLING = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
}
_ERRORS_ALONE = 1  # of llama.cpp's verbosities
_UNDER_WAY = re.compile(r"^llamacpp:requests_(?:processing|deferred) ([0-9.]+)$", re.MULTILINE)

_ERROR_LINE = re.compile(r"^[\d.]+ E +(?:srv +\S+: |cmn +\S+: )?(.*)$")
_EXPLANATION = re.compile(r"^Error: (.*)$")
_CONSEQUENCES = ("failed to load model", "exiting due to", "please consider", "for example:", "trying to fit params")
_LAST_LINE = "exiting due to"
_FLUSH_SECONDS = 1.0


class LlamaEngine:
    """`process.Engine`. The server works in threads of its own, without Python."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._server: xllamacpp.Server | None = None

    def load(self) -> None:
        """See `process.Engine`."""
        config = self._config
        if not config.weights.is_file():
            raise EngineError(f"there is no file {config.weights}")
        (config.folder / first_name(config)).unlink(missing_ok=True)
        parameters = parameters_of(config)
        written = _log_size(config)
        # The server's constructor returns when the model is there and holds Python's lock: no handler would run.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            self._server = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise EngineError(f"{config.weights.name}: {_said_since(config, written) or error}") from error
        if config.task == EMBEDDINGS:
            answer = self._server.handle_embeddings({"input": "a"})
            if "error" in answer:
                raise EngineError(f"{config.weights.name} gives no embeddings: {answer['error']['message']}")

    def working(self) -> bool:
        """By the server's own metrics."""
        if self._server is None:
            return False
        return any(float(number) for number in _UNDER_WAY.findall(self._server.handle_metrics()))

    def ended(self) -> str:
        """It lives and dies with this process."""
        return ""

    def close(self) -> None:
        """See `process.Engine`. The server is gone with the process; its destructor would wait for connections."""


def parameters_of(config: EngineConfig) -> xllamacpp.CommonParams:
    """What llama.cpp is started with."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(config.weights)
    parameters.model_alias = {config.served_name}
    parameters.n_parallel = config.slots
    parameters.n_ctx = config.context * config.slots  # shared out among the slots
    parameters.cpuparams.n_threads = config.threads
    parameters.cpuparams_batch.n_threads = config.threads
    parameters.hostnames = [first_name(config)]
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.use_jinja = True
    parameters.offline = True
    parameters.ui = False
    parameters.verbosity = _ERRORS_ALONE  # it would write several lines a request
    parameters.cache_ram_mib = 0  # of its own accord it keeps prompts until they take 8 GiB
    parameters.cache_idle_slots = False
    if config.chat_template is not None:
        parameters.chat_template = config.chat_template
    if config.task == EMBEDDINGS:
        parameters.embedding = True
        # A text must go through at once: what looks at a whole text cannot be cut.
        parameters.n_batch = parameters.n_ubatch = config.context
        if config.pooling is not None:
            parameters.pooling_type = _pooling(config.pooling)
    return parameters


def _pooling(name: str) -> xllamacpp.llama_pooling_type:
    if name not in _POOLING:
        raise EngineError(f"there is no pooling {name!r}; there are {', '.join(_POOLING)}")
    return _POOLING[name]


def _log_size(config: EngineConfig) -> int:
    try:
        return os.stat(config.log).st_size
    except FileNotFoundError:
        return 0


def _said_since(config: EngineConfig, written: int) -> str:
    """The causes among the lines that llama.cpp has logged. A thread of its own writes them, so the last is waited
    for."""
    until = time.monotonic() + _FLUSH_SECONDS
    while True:
        text = ""
        if config.log.is_file():
            with config.log.open("rb") as file:
                file.seek(written if written <= _log_size(config) else 0)  # the log may have been cut
                text = file.read().decode(errors="replace")
        if _LAST_LINE in text or time.monotonic() > until:
            return causes_in(text)
        time.sleep(0.01)


def causes_in(text: str) -> str:
    """What went wrong, each thing once, without what only followed from it."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        match = _ERROR_LINE.match(line) or _EXPLANATION.match(line)
        if match is None:
            continue
        words = match[1].strip()
        while words.startswith(("init: ", "llama_model_load: ")):
            words = words.partition(": ")[2]
        if words and not any(consequence in words for consequence in _CONSEQUENCES):
            found.setdefault(words)
    return "; ".join(found)
