"""Where the web UI is: its paths are pages of one program, which loads its files from `/assets`."""

from __future__ import annotations

ASSETS_PREFIX = "/assets/"
ICON_PATH = "/favicon.svg"
_PAGE_PREFIXES = ("/ml/", "/settings/", "/explore/data/models/")
_PAGES = {"/", "/ml", "/settings"}


def is_page(path: str) -> bool:
    """Whether the web UI has this path; `/login` besides, which needs more than a page."""
    return path in _PAGES or path.startswith(_PAGE_PREFIXES)


def is_open(path: str) -> bool:
    """Whether everybody may load it: the UI's program holds nothing of this workspace."""
    return is_page(path) or path == ICON_PATH or path.startswith(ASSETS_PREFIX)
