"""Views and blueprints that are not protected, each as the object that it is: two of one name share nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint

if TYPE_CHECKING:
    from flask import Flask, Request

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")


class Exemptions:
    """Filled while the application is set up, and asked at each request that is checked."""

    def __init__(self) -> None:
        self._views: set[Callable[..., Any]] = set()
        self._blueprints: set[Blueprint] = set()

    def add(self, exempt: T) -> T:
        """Exempt a view, or all views of a blueprint and of those in it. Raises TypeError for anything else."""
        if isinstance(exempt, Blueprint):
            self._blueprints.add(exempt)
        elif callable(exempt):
            self._views.add(exempt)
        else:
            raise TypeError(
                f"exempt() takes a view function or a Blueprint, not {type(exempt).__name__}: by a name another view "
                "of the same name would be exempt as well; give it app.view_functions[endpoint]"
            )
        return exempt

    def cover(self, app: Flask, request: Request) -> bool:
        """Tell whether the view of a request is exempt, itself or by a blueprint that it is in, however deep."""
        if self._blueprints and any(app.blueprints.get(name) in self._blueprints for name in request.blueprints):
            return True
        if not self._views or request.endpoint is None:
            return False
        view: Any = app.view_functions.get(request.endpoint)
        while view is not None:
            if view in self._views:
                return True
            view = getattr(view, "__wrapped__", None)  # what another decorator was put around
        return False
