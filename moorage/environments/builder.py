"""From a model's environment spec to a ready virtual environment, built once and shared by its key."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moorage.compute.reach import OutOfReach, as_user
from moorage.datadir import DataDirectory
from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.folders import EnvironmentFolders
from moorage.environments.interpreters import Interpreter, find_interpreter
from moorage.environments.local import satisfied_by_server, server_environment_key
from moorage.environments.log import BuildLog
from moorage.environments.requirement_lines import requirement_name
from moorage.environments.requirements import EnvironmentSpec
from moorage.environments.resolution import Resolution, index_options, lines_file, request_digest, resolve
from moorage.environments.single_flight import SingleFlight, file_lock
from moorage.environments.uv_process import Uv, explain, run_command, shorten
from moorage.separation import make_readable, models_are_separated
from moorage.settings import EnvManager, Settings, scrubbed_environment

__all__ = ["Environment", "EnvironmentBuildError", "EnvironmentBuilder"]

# Runs in the model's own interpreter, Python 3.9 and later; argv: packages as JSON, then modules to import.
_VERIFY = """
import importlib, importlib.metadata, json, sys
for name in json.loads(sys.argv[1]):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(name + " is not installed")
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except Exception as error:
        sys.exit("%s cannot be imported: %s: %s" % (module, type(error).__name__, error))
"""

_COMPILERS = 4

# Runs nothing of the packages, and gives way to whatever else wants to run.
_COMPILE_ALL = """
import compileall, os, sys
os.nice(19)
os.umask(0o022)
compileall.compile_dir(sys.argv[1], quiet=2)
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A ready environment: its key (hexadecimal), its interpreter, and `uv` or `local`, whichever made it.

    `reused` says that it had been built before, or was by another caller.
    """

    key: str
    python: Path
    manager: EnvManager
    reused: bool = field(default=False, compare=False)


class EnvironmentBuilder:
    """Gives each spec its environment: the server's own where that will do, else one that `uv` builds."""

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        self._settings = settings
        self._folders = EnvironmentFolders(data.environments)
        self._uv = Uv(settings)
        self._requests: SingleFlight[Environment] = SingleFlight()
        self._builds: SingleFlight[Environment] = SingleFlight()
        self._compilations: list[subprocess.Popen[bytes]] = []

    def path(self, key: str) -> Path:
        """The folder of a built environment: `venv/`, `requirements.txt`, `ready.json`."""
        return self._folders.environment(key)

    def verify(self, environment: Environment) -> str | None:
        """What is wrong with `environment` as it lies on the disk, naming the file; None when nothing is."""
        if environment.manager is EnvManager.UV:
            return self._folders.damage(environment.key)
        if not os.access(environment.python, os.X_OK):
            return f"{environment.python} is missing or cannot be run"
        return None

    async def ensure(self, spec: EnvironmentSpec, log: BuildLog) -> Environment:
        """The environment for `spec`, built when there is none yet. Cancelling it stops the build.

        Callers that ask for the same at once wait for one build, and all get its result or its failure.

        Raises:
            EnvironmentBuildError: it cannot be built, or not within `env_build_timeout_seconds`.
        """
        _report_conda(spec, log)
        try:
            if self._settings.env_manager is not EnvManager.UV:
                reasons = await asyncio.to_thread(satisfied_by_server, spec)
                if not reasons or self._settings.env_manager is EnvManager.LOCAL:
                    return await self._server_environment(spec, reasons, log)
                for reason in reasons:
                    log.line(f"the server's own environment is not used: {reason}")
            return await self._share_request(spec, log)
        except EnvironmentBuildError as error:
            log.conclude(f"the environment cannot be built: {error}")
            raise

    async def forget(self, key: str) -> None:
        """Remove the environment `key` from the disk. The caller knows that nobody uses it."""
        async with file_lock(self._folders.lock_file(key), lambda: None):
            await asyncio.to_thread(self._folders.forget_requests, key)
            await asyncio.to_thread(self._folders.remove, key)

    async def _server_environment(self, spec: EnvironmentSpec, reasons: Sequence[str], log: BuildLog) -> Environment:
        for reason in reasons:
            log.line(f"warning: the server's own environment is used although {reason}")
        version = ".".join(map(str, sys.version_info[:3]))
        if spec.python and spec.python != version:
            log.line(f"the model was logged with Python {spec.python}; Python {version} is used")
        key = await asyncio.to_thread(server_environment_key)
        log.conclude(f"the server's own environment is used: {key}")
        return Environment(key, Path(sys.executable), EnvManager.LOCAL)

    async def _share_request(self, spec: EnvironmentSpec, log: BuildLog) -> Environment:
        waited = False

        def waiting() -> None:
            nonlocal waited
            waited = True
            log.line("the same environment is being built for another served model; waiting for it")

        request = request_digest(spec, self._uv.environment)
        environment = await self._requests.run(request, lambda: self._within_time(spec, log), waiting)
        return self._reuse(environment.key, log) if waited else environment

    async def _within_time(self, spec: EnvironmentSpec, log: BuildLog) -> Environment:
        seconds = self._settings.env_build_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._find_or_build(spec, log)
        except TimeoutError as error:
            raise EnvironmentBuildError(f"the environment was not built within {seconds:g} s") from error
        except OSError as error:
            raise EnvironmentBuildError(f"the environment cannot be written: {error}") from error

    async def _find_or_build(self, spec: EnvironmentSpec, log: BuildLog) -> Environment:
        request = request_digest(spec, self._uv.environment)
        known = self._folders.requested_key(request)
        if known is not None and self._folders.damage(known) is None:
            return self._reuse(known, log)
        with log.step("resolve"):
            interpreter = await find_interpreter(self._uv, spec.python, log)
            resolution = await resolve(self._uv, spec, interpreter, log)
        environment = await self._builds.run(
            resolution.key,
            lambda: self._build_alone(spec, interpreter, resolution, log),
            lambda: log.line(f"environment {resolution.key} is being built; waiting for it"),
        )
        self._folders.remember_request(request, environment.key)
        return environment

    def _reuse(self, key: str, log: BuildLog) -> Environment:
        log.conclude(f"environment {key} is ready, built {self._folders.built_at(key)}; reused")
        return Environment(key, self._folders.python(key), EnvManager.UV, reused=True)

    async def _build_alone(
        self, spec: EnvironmentSpec, interpreter: Interpreter, resolution: Resolution, log: BuildLog
    ) -> Environment:
        """Build under the lock that other processes respect, unless one of them has done it meanwhile."""
        key = resolution.key

        def waiting() -> None:
            log.line(f"environment {key} is being built by another process; waiting for it")

        async with file_lock(self._folders.lock_file(key), waiting):
            damage = self._folders.damage(key)
            if damage is None:
                return self._reuse(key, log)
            if self.path(key).exists():
                log.line(f"an unfinished or damaged environment is removed: {damage}")
            try:
                await self._build(spec, interpreter, resolution, log)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(self._folders.remove, key))
                raise
        log.conclude(f"environment {key} is ready")
        if models_are_separated(self._settings):
            self._begin_to_compile(key)
        return Environment(key, self._folders.python(key), EnvManager.UV)

    async def _build(
        self, spec: EnvironmentSpec, interpreter: Interpreter, resolution: Resolution, log: BuildLog
    ) -> None:
        key = resolution.key
        folder = await asyncio.to_thread(self._folders.start, key)
        pins = folder / "requirements.txt"
        pins.touch(mode=0o600)
        pins.write_text("".join(f"{pin}\n" for pin in resolution.pins))
        await self._install(spec, interpreter, key, pins, log)
        if models_are_separated(self._settings):
            with log.step("compile"):
                await self._compile(key)
        await asyncio.to_thread(make_readable, folder)
        with log.step("verify import"):
            await self._verify_import(spec, key, resolution.pins)
        self._folders.mark_ready(key, python_version=interpreter.version, packages=len(resolution.pins))

    async def _install(
        self, spec: EnvironmentSpec, interpreter: Interpreter, key: str, pins: Path, log: BuildLog
    ) -> None:
        """Download and install the pins: two steps of the log, told apart by what `uv` reports meanwhile."""
        step = log.begin("download")

        def watch(line: str) -> None:
            nonlocal step
            log.line(line)
            if step.name == "download" and line.startswith(("Prepared ", "Installed ")):
                step.done()
                step = log.begin("install")

        try:
            venv = self.path(key) / "venv"
            created = await self._uv.run("venv", "--quiet", "--python", interpreter.path, venv, on_line=log.line)
            if created.status != 0:
                raise EnvironmentBuildError(f"no virtual environment: {explain(created.error_lines)}")
            with lines_file("--requirements", index_options(spec)) as options:
                python = self._folders.python(key)
                arguments = ("--no-deps", "--python", python, "--requirements", pins, *options)
                installed = await self._uv.run("pip", "install", *arguments, on_line=watch)
            if installed.status != 0:
                reason = explain(installed.error_lines)
                raise EnvironmentBuildError(shorten(f"requirements cannot be installed: {reason}"))
            if step.name == "download":
                step.done()
                step = log.begin("install")
        except BaseException as error:
            step.broken_off(error)
            raise
        step.done()

    async def _verify_import(self, spec: EnvironmentSpec, key: str, pins: Sequence[str]) -> None:
        """Start the environment's interpreter, look for what was asked for, import MLflow if asked for.

        That runs code of the packages: where models are users of their own, it is one too.

        Raises:
            EnvironmentBuildError: something is not there, or does not import.
        """
        pinned = {requirement_name(pin) for pin in pins}
        wanted = [name for line in spec.requirements if (name := requirement_name(line)) and name in pinned]
        modules = ["mlflow.pyfunc"] if spec.requires_mlflow else []
        command: list[str | Path] = [self._folders.python(key), "-I", "-c", _VERIFY, json.dumps(wanted)]
        command += modules
        environment = scrubbed_environment()
        if models_are_separated(self._settings):
            environment["HOME"] = str(self.path(key))
            try:
                user = as_user(self._settings.model_uid_base, self._folders.python(key), [self._folders.root])
            except OutOfReach as error:
                raise EnvironmentBuildError(str(error)) from error
            command = [*user, *command]
        finished = await run_command(command, environment, directory=self.path(key))
        if finished.status != 0:
            reason = "; ".join(finished.error_lines[-5:]) or f"Python ended with status {finished.status}"
            raise EnvironmentBuildError(shorten(f"the environment was installed but does not work: {reason}"))


    async def _compile(self, key: str) -> None:
        """Compile the modules that this process has imported too, as far as they are in the environment.

        MLflow and what it imports are most of what a model imports. One that is a user of its own may read the
        outcome but not write it, and would compile them at every start.
        """
        python = self._folders.python(key)
        ours = Path(sysconfig.get_path("purelib"))
        files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
        within = [file.relative_to(ours) for file in files if file.suffix == ".py" and file.is_relative_to(ours)]
        places = list(python.parent.parent.glob("lib/python3*/site-packages"))
        found = [str(path) for place in places for name in within if (path := place / name).is_file()]
        at_once = min(len(os.sched_getaffinity(0)), _COMPILERS)
        command: list[str | Path] = [python, "-I", "-S", "-m", "compileall", "-q", "-i", "-"]
        parts = ["\n".join(found[first::at_once]) for first in range(at_once)]
        await asyncio.gather(*(run_command(command, scrubbed_environment(), stdin=part) for part in parts if part))

    def _begin_to_compile(self, key: str) -> None:
        """Compile the rest. That takes a while and is not waited for: without it all works, and starts later."""
        python = self._folders.python(key)
        self._compilations = [one for one in self._compilations if one.poll() is None]
        self._compilations.append(
            subprocess.Popen(
                [python, "-I", "-S", "-c", _COMPILE_ALL, python.parent.parent / "lib"],
                env=scrubbed_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )


def _report_conda(spec: EnvironmentSpec, log: BuildLog) -> None:
    for channel in spec.channels:
        log.line(
            f"channel '{channel}' is listed in conda.yaml; channels are not used here, "
            "packages come from the configured Python index"
        )
    for package in spec.conda_packages:
        log.line(f"conda package '{package}' is listed in conda.yaml; only its pip packages are installed")
