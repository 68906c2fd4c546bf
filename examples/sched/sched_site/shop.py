"""The shelf, the products and the cart. Every change is a POST and ends in a redirect: reloading repeats nothing."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from . import cart, counters, recent, stock
from .catalogue import PRODUCTS, Product

blueprint = Blueprint("shop", __name__)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Show the shelf."""
    return render_template(
        "shop.html",
        products=PRODUCTS.values(),
        in_cart=_in_cart(),
        left=stock.left(),
        visits=counters.count_visit(),
        recently=recent.seen(),
    )


@blueprint.get("/product/<slug>")
def product(slug: str) -> ResponseReturnValue:
    """Show one product."""
    product = PRODUCTS.get(slug) or abort(404)
    return render_template(
        "product.html",
        product=product,
        in_cart=_in_cart(),
        left=stock.left(),
        views=counters.count_view(product),
        recently=recent.look(product),
    )


@blueprint.get("/cart")
def show_cart() -> ResponseReturnValue:
    """Show the cart."""
    lines = cart.lines()
    left = stock.left() if lines else {}
    return render_template("cart.html", lines=lines, total=cart.total(), max_quantity=cart.MAX_QUANTITY, left=left)


@blueprint.post("/cart/add")
def add() -> ResponseReturnValue:
    """Put one of a product into the cart, and go back to where it stands on the shelf.

    More than there is can be put there: what counts is what is left when it is bought.
    """
    product = _product()
    if product.slug in stock.sold_out():
        flash(f"{product.name} is sold out.", "warning")
    else:
        quantity = cart.add(product)
        flash(f"{product.name}: {quantity} in your cart.", "success")
    return redirect(url_for("shop.index", _anchor=product.slug))


@blueprint.post("/cart/change")
def change() -> ResponseReturnValue:
    """Set how many of a product are wanted."""
    product = _product()
    quantity = request.form.get("quantity", type=int)
    if quantity is None or not 0 <= quantity <= cart.MAX_QUANTITY:
        flash(f"{product.name}: choose a quantity from 0 to {cart.MAX_QUANTITY}.", "error")
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


def _in_cart() -> dict[str, int]:
    return {line.product.slug: line.quantity for line in cart.lines()}


def _product() -> Product:
    return PRODUCTS.get(request.form.get("product", "")) or abort(404)
