"""Buying what is in the cart, and filling the shelf again."""

from __future__ import annotations

from decimal import Decimal

from flask import Blueprint, flash, redirect, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import locked_session

from . import cart, stock
from .catalogue import PRODUCTS, money

blueprint = Blueprint("sales", __name__)


@blueprint.post("/cart/buy")
@locked_session()  # a double click waits here for the first one, and finds an empty cart
def buy() -> ResponseReturnValue:
    """Buy all that is in the cart, or tell what there is not enough of.

    Another device has a session of its own and waits for nothing; the cart's order is what it cannot buy twice.
    """
    if lines := cart.lines():
        outcome = stock.take(cart.order(), lines)
        if not outcome.missing:
            cart.bought(outcome.taken)
        _tell(outcome, sum((line.total for line in lines), Decimal(0)))
    else:
        flash("There is nothing in your cart to buy.", "info")
    return redirect(url_for("shop.show_cart"))


def _tell(outcome: stock.Taken, total: Decimal) -> None:
    if outcome.already:
        flash("That was bought already, by another click or device of yours. Nothing was bought twice.", "info")
    elif outcome.missing:
        there_is = [
            f"{PRODUCTS[slug].name}: {f'only {number} left' if number else 'sold out'}."
            for slug, number in outcome.missing.items()
        ]
        flash(f"{' '.join(there_is)} Nothing was bought, and your cart is as it was.", "error")
    else:
        flash(f"Thank you! It is all yours for {money(total)}. (A sample: nothing is charged.)", "success")


@blueprint.post("/restock")
def restock() -> ResponseReturnValue:
    """Let everything be there again, so that the sample can be tried once more."""
    stock.restock()
    flash("The shelf is full again.", "success")
    return redirect(url_for("shop.index"))
