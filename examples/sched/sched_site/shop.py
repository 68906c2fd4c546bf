"""The shelf and the cart. Every change is a POST that ends in a redirect, so reloading repeats nothing."""

from __future__ import annotations

from decimal import Decimal

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from . import cart
from .catalogue import PRODUCTS, Product

blueprint = Blueprint("shop", __name__)


def money(amount: Decimal) -> str:
    """Write an amount as a price."""
    return f"€{amount:,.2f}"


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Show the shelf."""
    in_cart = {line.product.slug: line.quantity for line in cart.lines()}
    return render_template("shop.html", products=PRODUCTS.values(), in_cart=in_cart)


@blueprint.get("/cart")
def show_cart() -> ResponseReturnValue:
    """Show the cart."""
    return render_template("cart.html", lines=cart.lines(), total=cart.total(), max_quantity=cart.MAX_QUANTITY)


@blueprint.post("/cart/add")
def add() -> ResponseReturnValue:
    """Put one of a product into the cart, and go back to where it stands on the shelf."""
    product = _product()
    quantity = cart.add(product)
    flash(f"{product.name}: {quantity} in your cart.", "success")
    return redirect(url_for("shop.index", _anchor=product.slug))


@blueprint.post("/cart/change")
def change() -> ResponseReturnValue:
    """Set how many of a product are wanted."""
    product = _product()
    quantity = request.form.get("quantity", type=int)
    if quantity is None or not 0 <= quantity <= cart.MAX_QUANTITY:
        flash(f"{product.name}: choose a quantity from 0 to {cart.MAX_QUANTITY}.", "danger")
    else:
        cart.change(product, quantity)
        flash(f"{product.name}: {quantity or 'none'} in your cart.", "success")
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/cart/remove")
def remove() -> ResponseReturnValue:
    """Take a product out of the cart."""
    product = _product()
    cart.remove(product)
    flash(f"{product.name} is no longer in your cart.", "success")
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/cart/empty")
def empty() -> ResponseReturnValue:
    """Take everything out of the cart."""
    cart.empty()
    flash("Your cart is empty.", "success")
    return redirect(url_for("shop.show_cart"))


def _product() -> Product:
    return PRODUCTS.get(request.form.get("product", "")) or abort(404)
