// Shows a notice when a product in the cart is sold out. Without this script the next page shows that.
"use strict";
{
  const place = document.getElementById("notices");
  const pattern = document.getElementById("notice");
  // Products that were sold out when the page was made, and products with an earlier notice in this tab.
  const known = new Set(`${place.dataset.known} ${sessionStorage.getItem("told") ?? ""}`.split(" "));
  let source = null;

  const show = (event) => {
    const { slug, text } = JSON.parse(event.data);
    if (event.type === "gone" && known.has(slug)) return;
    known.add(slug);
    sessionStorage.setItem("told", [...known].join(" "));
    const notice = pattern.content.firstElementChild.cloneNode(true);
    notice.querySelector(".notice-text").textContent = text;
    notice.querySelector("button").addEventListener("click", () => notice.remove());
    place.append(notice);
  };

  // Browsers allow six connections to a site, so a hidden page closes its stream.
  const openOrClose = () => {
    if (document.visibilityState === "hidden") {
      source?.close();
      source = null;
    } else if (source === null) {
      source = new EventSource(place.dataset.stream);
      source.addEventListener("gone", show);
      source.addEventListener("sold-out", show);
    }
  };

  document.addEventListener("visibilitychange", openOrClose);
  openOrClose();
}
