"""The options with which every command of the API client finds its server, and its errors as exit statuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.configuration import BadConfiguration
from moorage.cli.output import OutputFormat, write_error

if TYPE_CHECKING:
    from moorage.cli.client import ApiClient

REFUSED = 1
WRONG_USAGE = 2
UPDATE_FAILED = 3
UNREACHABLE = 4
_INTERRUPTED = 130

Host = Annotated[str | None, typer.Option(help="URL of the server (default DATABRICKS_HOST)")]
Token = Annotated[str | None, typer.Option(help="Access token (default DATABRICKS_TOKEN)")]
DataDir = Annotated[
    Path | None, typer.Option(help="Of a server of this machine, when no host is given (default ~/.moorage)")
]
Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="json: exactly the answer of the API")]


@contextmanager
def connected(host: str | None, token: str | None, data_dir: Path | None) -> Iterator[ApiClient]:
    """A client for the block; what goes wrong in it is one line on the standard error and an exit status.

    Raises:
        typer.Exit: with one of the statuses of this module.
    """
    from moorage.cli.client import ApiRefused, Unreachable, connect

    try:
        yield connect(host, token, data_dir)
    except BadConfiguration as error:
        write_error(f"error: {error}")
        raise typer.Exit(WRONG_USAGE) from error
    except ApiRefused as error:
        write_error(f"error: {error}")
        raise typer.Exit(REFUSED) from error
    except Unreachable as error:
        write_error(f"error: {error}")
        raise typer.Exit(UNREACHABLE) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(_INTERRUPTED) from interrupt
