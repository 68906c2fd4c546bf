"""Buy the items in the cart, and restock the shop."""

from __future__ import annotations

from decimal import Decimal

from flask import Blueprint, flash, redirect, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import locked_session

from . import cart, stock
from .catalogue import PRODUCTS, money

blueprint = Blueprint("sales", __name__)


@blueprint.post("/cart/buy")
@locked_session()  # the second request of a double click waits for the first one, and finds an empty cart
def buy() -> ResponseReturnValue:
    """Buy all items in the cart, or show which products are sold out.

    Another device has another session, so the lock does not stop that device. The order number does, because an order
    is carried out once.
    """
    if lines := cart.lines():
        outcome = stock.take(cart.order_number(), lines)
        if not outcome.missing:
            cart.remove_bought(outcome.taken)
        _flash_outcome(outcome, sum((line.total for line in lines), Decimal(0)))
    else:
        flash("Your cart is empty, so nothing was bought.", "info")
    return redirect(url_for("shop.show_cart"))


def _flash_outcome(outcome: stock.Outcome, total: Decimal) -> None:
    if outcome.already:
        flash(
            "You have already bought this cart, in another tab or on another device. Nothing was bought twice.", "info"
        )
    elif outcome.missing:
        problems = [
            f"{PRODUCTS[slug].name}: {f'only {number} left' if number else 'sold out'}."
            for slug, number in outcome.missing.items()
        ]
        flash(f"{' '.join(problems)} Nothing was bought. Your cart is unchanged.", "error")
    else:
        flash(f"Thank you for your order of {money(total)}. This is a demo, so nothing is charged.", "success")


@blueprint.post("/restock")
def restock() -> ResponseReturnValue:
    """Reset the stock of all products, so that the demo can be tried again."""
    stock.restock()
    flash("All products are back in stock.", "success")
    return redirect(url_for("shop.index"))
