// Shows the charts anew every few seconds. Without this script they are as they were when the page was loaded.
"use strict";
{
  const SECONDS = 5;
  const place = document.getElementById("charts");

  const again = async () => {
    if (document.visibilityState === "visible") {
      try {
        const response = await fetch(place.dataset.again);
        // Who is signed out meanwhile is sent to the login: then this ends, and the next click says why.
        if (response.redirected || response.status === 403) return;
        if (response.ok) {
          const isOpen = place.querySelector("details").open;
          const made = new DOMParser().parseFromString(await response.text(), "text/html");
          place.replaceChildren(...made.body.childNodes);
          place.querySelector("details").open = isOpen;
        }
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // fetch says so when the server is away
      }
    }
    setTimeout(again, SECONDS * 1000);
  };
  setTimeout(again, SECONDS * 1000);
}
