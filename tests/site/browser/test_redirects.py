"""A real browser follows the targets that ``safe_next`` accepts, and always stays on this site."""

from __future__ import annotations

import random

import pytest
from playwright.sync_api import Browser

from flask_cloakroom.redirects import safe_path
from support.redirect_targets import HARMLESS, HOST, HOSTILE

pytestmark = pytest.mark.browser

SITE = f"http://{HOST}"
#: What an address is taken for another one by, and pieces to put in between.
PIECES = [
    *(
        "/",
        "//",
        "\\",
        "\t",
        "\n",
        "\r",
        "\0",
        " ",
        ":",
        "@",
        "?",
        "#",
        ".",
        "..",
        "%2f",
        "%5c",
        "%09",
        "%2e",
        ";",
        "\u3002",
        "\ufeff",
    ),
    *(
        "http:",
        "https:",
        "javascript:",
        "evil.example",
        HOST,
        "shop.example",
        "a",
        "[::1]",
        "\u2028",
        "\u00a0",
        "\uff0f",
    ),
]
GENERATED = 20_000

RESOLVE = """([targets, base]) => targets.map(target => {
    try { return new URL(target, base).origin } catch { return "none" }
})"""


def test_nothing_leads_elsewhere(browser: Browser) -> None:
    """The corpus, and thousands of targets made of its pieces: what passes is of this site to Chromium as well."""
    chance = random.Random(1)
    made = ["".join(chance.choices(PIECES, k=chance.randint(1, 6))) for _ in range(GENERATED)]
    wanted = [*HOSTILE, *(target for target, _ in HARMLESS), *made, *(f"/{target}" for target in made)]
    passed = [path for path in (safe_path(target, HOST) for target in wanted) if path is not None]
    assert len(passed) > GENERATED / 20
    page = browser.new_page()
    for base in (f"{SITE}/", f"{SITE}/a/login?next=x"):
        origins = page.evaluate(RESOLVE, [passed, base])
        assert {path for path, origin in zip(passed, origins, strict=True) if origin != SITE} == set()
        # And the targets are what they are meant to be: many of those that were refused lead elsewhere.
        text = [target for target in HOSTILE if target.isascii()]
        assert sum(origin != SITE for origin in page.evaluate(RESOLVE, [text, base])) > len(text) / 3
    page.close()
