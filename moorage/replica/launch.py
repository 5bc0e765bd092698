"""The file that a model's interpreter is started with: makes this folder the package `moorage_replica`, runs it.

    python launch.py template SOCKET VERSION LOG LOG_BYTES CLIENT_UID
    python launch.py replica CONFIG.json

The folder is loaded by its path, so that neither it nor anything beside it is on the model's import path.
"""

import importlib
import importlib.util
import json
import os
import sys


def _load_package() -> None:
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != folder]
    spec = importlib.util.spec_from_file_location(
        "moorage_replica", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["moorage_replica"] = package
    spec.loader.exec_module(package)


def main() -> int:
    _load_package()
    role, *arguments = sys.argv[1:]
    if role == "template":
        return int(importlib.import_module("moorage_replica.template").main(arguments))
    with open(arguments[0], encoding="utf-8") as file:
        config = json.load(file)
    importlib.import_module("moorage_replica.main").become_replica(config, dict(os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(main())
