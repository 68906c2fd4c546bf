"""The shop, the products and the cart. Every change is a POST with a redirect, so that a reload does not repeat it."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from . import cart, counters, recent, stock
from .catalogue import PRODUCTS, Product

blueprint = Blueprint("shop", __name__)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Show all products."""
    return render_template(
        "shop.html",
        products=PRODUCTS.values(),
        in_cart=_in_cart(),
        left=stock.left(),
        visits=counters.count_visit(),
        recently=recent.products(),
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
        recently=recent.add(product),
    )


@blueprint.get("/cart")
def show_cart() -> ResponseReturnValue:
    """Show the cart."""
    lines = cart.lines()
    left = stock.left() if lines else {}
    return render_template(
        "cart.html",
        lines=lines,
        total=cart.total(),
        max_quantity=cart.MAX_QUANTITY,
        left=left,
        merged=cart.merged_count() if lines else 0,
    )


@blueprint.post("/cart/add")
def add() -> ResponseReturnValue:
    """Add a product to the cart, and return to its place in the shop.

    The quantity may exceed the stock. The stock is checked when the cart is bought.
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
    """Set the quantity of a product in the cart."""
    product = _product()
    quantity = request.form.get("quantity", type=int)
    if quantity is None or not 0 <= quantity <= cart.MAX_QUANTITY:
        flash(f"{product.name}: choose a quantity from 0 to {cart.MAX_QUANTITY}.", "error")
    else:
        cart.change(product, quantity)
        flash(f"{product.name}: {quantity} in your cart." if quantity else _removed_text(product), "success")
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/cart/remove")
def remove() -> ResponseReturnValue:
    """Remove a product from the cart."""
    product = _product()
    cart.remove(product)
    flash(_removed_text(product), "success")
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/cart/undo")
def undo() -> ResponseReturnValue:
    """Remove the items that the login added to the cart. After a purchase, or the second time, this does nothing."""
    if cart.undo_login():
        flash("The items that were added when you signed in were removed.", "success")
    else:
        flash("There is nothing left to undo.", "info")
    return redirect(url_for("shop.show_cart"))


@blueprint.post("/cart/empty")
def empty() -> ResponseReturnValue:
    """Remove all items from the cart."""
    cart.empty()
    flash("All items were removed from your cart.", "success")
    return redirect(url_for("shop.show_cart"))


def _removed_text(product: Product) -> str:
    return f"{product.name} was removed from your cart."


def _in_cart() -> dict[str, int]:
    return {line.product.slug: line.quantity for line in cart.lines()}


def _product() -> Product:
    return PRODUCTS.get(request.form.get("product", "")) or abort(404)
