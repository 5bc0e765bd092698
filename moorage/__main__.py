"""`python -m moorage`, the same as the `moorage` command."""

from moorage.cli.main import app

app(prog_name="moorage")
