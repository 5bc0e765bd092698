"""A wheel of this tree, installed where nothing else is, serves the web UI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from conftest import ROOT
from server import READY_LINE, data_directory, wait_for

UV = Path(sys.executable).with_name("uv")


def copy_of_the_tree(folder: Path) -> Path:
    """What a clone would have of this checkout, with what is not committed yet; nothing that was built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.timeout(900)
def test_a_wheel_in_an_empty_environment_serves_the_ui(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    assert not (tree / "moorage" / "web").exists()
    built = subprocess.run(
        [UV, "build", "--wheel", "--out-dir", tmp_path / "dist", tree], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-4000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "moorage/web/index.html" in names
    assert not any("node_modules" in name or name.startswith(("web/", "tests/")) for name in names)

    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True, env=environment
    )
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, wheel], check=True, env=environment)

    with data_directory() as data, (tmp_path / "server.log").open("wb+") as log:
        command = [python, "-m", "moorage", "serve", "--data-dir", data, "--port", "0"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path, env=environment)
        try:
            said = wait_for("its ready line", lambda: READY_LINE.search((tmp_path / "server.log").read_text()), 90)
            with httpx.Client(base_url=said[1], timeout=30) as http:
                document = http.get("/ml/endpoints")
                assert document.status_code == 200
                loaded = re.findall(r'(?:src|href)="(/[^"]+)"', document.text)
                assert any(path.endswith(".js") for path in loaded)
                for path in loaded:
                    assert http.get(path).status_code == 200, path
        finally:
            process.terminate()
            process.wait(60)
