// Updates the charts every few seconds. Without this script they stay as they were when the page was loaded.
"use strict";
{
  const SECONDS = 5;
  const place = document.getElementById("charts");

  const update = async () => {
    if (document.visibilityState === "visible") {
      try {
        const response = await fetch(place.dataset.source);
        // After a sign-out the server redirects to the login page. The updates stop then.
        if (response.redirected || response.status === 403) return;
        if (response.ok) {
          const isOpen = place.querySelector("details").open;
          const fragment = new DOMParser().parseFromString(await response.text(), "text/html");
          place.replaceChildren(...fragment.body.childNodes);
          place.querySelector("details").open = isOpen;
        }
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // fetch raises a TypeError while the server is down
      }
    }
    setTimeout(update, SECONDS * 1000);
  };
  setTimeout(update, SECONDS * 1000);
}
