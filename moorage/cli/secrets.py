"""`moorage secrets`: what concerns stored secrets and only the owner of the machine may do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from moorage.cli.configuration import BadConfiguration, load_settings

app = typer.Typer(
    help="Look after the encryption of stored secrets",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FAILED = 1
_CONFIGURATION = 2

DataDir = Annotated[Path | None, typer.Option(help="Of the server (default ~/.moorage)")]
NewKeyEnv = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Variable with the new key, when MOORAGE_ENCRYPTION_KEY has the present one"),
]


@app.callback()
def _group() -> None:
    """Makes `rotate-key` a command of its own although there is no other yet."""


@app.command("rotate-key")
def rotate_key(data_dir: DataDir = None, new_key_env: NewKeyEnv = None) -> None:
    """Encrypt all secrets with a new key

    The server must be stopped. A rotation that is broken off is finished or undone at the next start.
    """
    import os
    import sqlite3

    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from moorage.control import encryption_key
    from moorage.datadir import DataDirectory
    from moorage.supervisor.bootstrap import CannotStart, held

    try:
        data = DataDirectory(load_settings(data_dir=data_dir).data_dir)
    except BadConfiguration as error:
        _fail(str(error), _CONFIGURATION)
    if not data.database.exists():
        _fail(f"no Moorage server has started in {data.root} yet", _FAILED)
    try:
        with held(data):
            encryption_key.rotate_key(data, os.environ, new_key_env)
    except (CannotStart, encryption_key.KeyProblem) as error:
        _fail(str(error), _FAILED)
    except CommandError as error:
        _fail(f"the database in {data.root} was made by a newer version of Moorage ({error})", _FAILED)
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        _fail(f"cannot use the database in {data.root}: {cause}", _FAILED)
    except OSError as error:
        _fail(f"cannot write in data directory {data.root}: {error.strerror}", _FAILED)
    if new_key_env is None:
        typer.echo(f"All secrets are encrypted with the new key in {data.encryption_key}")
    else:
        typer.echo(f"All secrets are encrypted with the key in {new_key_env}: set MOORAGE_ENCRYPTION_KEY to it now")


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)
