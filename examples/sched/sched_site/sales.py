"""Buying what is in the cart, and filling the shelf again."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import locked_session

from . import cart, stock
from .catalogue import PRODUCTS, money

blueprint = Blueprint("sales", __name__)


@blueprint.post("/cart/buy")
@locked_session()  # a double click waits here for the first one, finds an empty cart, and buys nothing twice
def buy() -> ResponseReturnValue:
    """Buy all that is in the cart, or tell what there is not enough of."""
    lines = cart.lines()
    if not lines:
        flash("There is nothing in your cart to buy.", "info")
    elif missing := stock.take(lines):
        there_is = [
            f"{PRODUCTS[slug].name}: {f'only {number} left' if number else 'sold out'}."
            for slug, number in missing.items()
        ]
        flash(f"{' '.join(there_is)} Nothing was bought, and your cart is as it was.", "error")
    else:
        flash(f"Thank you! It is all yours for {money(cart.total())}. (A sample: nothing is charged.)", "success")
        cart.empty()
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/restock")
def restock() -> ResponseReturnValue:
    """Let everything be there again, so that the sample can be tried once more."""
    stock.restock()
    flash("The shelf is full again.", "success")
    return redirect(url_for("shop.index"))
