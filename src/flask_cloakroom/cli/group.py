"""The group that the commands of this package belong to."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from ..errors import CloakroomError


class CommandGroup(AppGroup):
    """A group that prints an error of this package as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises click.ClickException for a :class:`CloakroomError`."""
        try:
            return super().invoke(ctx)
        except CloakroomError as error:
            raise click.ClickException(str(error)) from error
