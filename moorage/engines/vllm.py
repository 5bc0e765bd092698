"""vLLM's own server as a child of this process, on the engine's socket: for machines with an NVIDIA GPU.

vLLM is no dependency: its `vllm` command is taken from this environment, or from the path.
Source: vLLM documentation, `vllm serve`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from moorage.engines.config import EMBEDDINGS, EngineConfig
from moorage.engines.process import EngineError
from moorage.engines.sockets import first_name
from moorage.replica.process import log
from moorage.supervisor.linux import become_subreaper, die_with_parent

NO_GPU = "the engine vllm needs an NVIDIA GPU, and this machine has none"
NO_COMMAND = "the engine vllm needs the command 'vllm', and there is none on this machine (pip install vllm)"

_UNDER_WAY = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_LOOK_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_STOP_SECONDS = 10.0
_LAST_WORDS = 4096
_CPU_BUILD = "cpu"

_TOOL_PARSERS = {"llama": "llama3_json", "mistral": "mistral", "granite": "granite"}
"""How a model writes tool calls, by the `model_type` of its config.json; most do it as Hermes."""
_USUAL_TOOL_PARSER = "hermes"


class VllmEngine:
    """`process.Engine`. `command` and `devices` are where vLLM and the GPUs are found."""

    def __init__(self, config: EngineConfig, command: Path | None = None, devices: Path = Path("/dev")) -> None:
        self._config = config
        self._command = command
        self._devices = devices
        self._child: subprocess.Popen[bytes] | None = None
        self._name = first_name(config)

    def load(self) -> None:
        """See `process.Engine`. It takes as long as vLLM does, a minute or more."""
        config = self._config
        if not has_gpu(self._devices) and not _runs_on_cpus():
            raise EngineError(NO_GPU)
        command = self._command or find_command()
        if command is None:
            raise EngineError(NO_COMMAND)
        if not (config.weights / "config.json").is_file():
            raise EngineError(f"{config.weights} is no folder of a Hugging Face model: it has no config.json")
        (config.folder / self._name).unlink(missing_ok=True)
        if config.chat_template is not None:
            _template_file(config).write_text(config.chat_template, encoding="utf-8")
        written = os.stat(config.log).st_size if config.log.is_file() else 0
        become_subreaper()  # what vLLM starts comes here when vLLM dies, and is ended
        self._child = subprocess.Popen(
            [str(command), *arguments_of(config)],
            cwd=config.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"},
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        while not self._answers():
            if self._child.poll() is not None:
                raise EngineError(f"{self._ending()}: {_last_words(config, written)}")
            time.sleep(_LOOK_SECONDS)

    def working(self) -> bool:
        """By vLLM's own metrics; one that does not give them is not known to be idle."""
        status, body = self._get("/metrics")
        return status != 200 or any(float(number) for number in _UNDER_WAY.findall(body))

    def ended(self) -> str:
        """See `process.Engine`."""
        if self._child is None or self._child.poll() is None:
            return ""
        return self._ending()

    def close(self) -> None:
        """SIGTERM, upon which vLLM ends its workers and gives back the GPU."""
        if self._child is None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log("WARNING", f"vllm has not ended within {_STOP_SECONDS:.0f} s")

    def _answers(self) -> bool:
        return self._get("/health")[0] == 200

    def _get(self, path: str) -> tuple[int, str]:
        """The status and text of an answer; status 0 when there is none."""
        connection = _SocketConnection(self._name)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def _ending(self) -> str:
        code = self._child.returncode if self._child is not None else 0
        return f"vllm ended by signal {-code}" if code < 0 else f"vllm ended with status {code}"


def find_command() -> Path | None:
    """The `vllm` of this environment, else that of the path."""
    found = shutil.which("vllm", path=str(Path(sys.executable).parent)) or shutil.which("vllm")
    return Path(found) if found else None


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether there is a device of NVIDIA's driver."""
    return any(one.name.removeprefix("nvidia").isdigit() for one in devices.glob("nvidia*"))


def _runs_on_cpus() -> bool:
    try:
        return _CPU_BUILD in metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return False


def arguments_of(config: EngineConfig) -> list[str]:
    """The words of the command line."""
    words = ["serve", str(config.weights), "--uds", first_name(config), "--served-model-name", config.served_name]
    words += ["--max-model-len", str(config.context), "--max-num-seqs", str(config.slots)]
    words += ["--disable-uvicorn-access-log"]
    if config.tokenizer is not None:
        words += ["--tokenizer", str(config.tokenizer.parent)]
    if config.task == EMBEDDINGS:
        words += ["--runner", "pooling"]
        if config.pooling is not None:
            words += ["--pooler-config", json.dumps({"pooling_type": config.pooling.upper()})]
        return words
    if config.chat_template is not None:
        words += ["--chat-template", str(_template_file(config))]
    return [*words, "--enable-auto-tool-choice", "--tool-call-parser", _tool_parser(config.weights)]


def _template_file(config: EngineConfig) -> Path:
    return config.folder / "chat_template.jinja"


def _tool_parser(weights: Path) -> str:
    try:
        kind = json.loads((weights / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError):
        return _USUAL_TOOL_PARSER
    return _TOOL_PARSERS.get(kind, _USUAL_TOOL_PARSER)


def _last_words(config: EngineConfig, written: int) -> str:
    """The end of what vLLM has logged: the lines of its errors where it marks them, else the last line."""
    with config.log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LAST_WORDS, written if written <= size else 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines if re.search(r"\b\w*(?:Error|Exception): ", line)]
    return (causes or lines or ["it said nothing"])[-1]


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
