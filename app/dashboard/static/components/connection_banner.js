/** A banner at the top of the page while the service does not respond, or is not ready to train. */

import { ApiError, buildGet, sendRequest, sleep } from "../lib/api.js";
import { connection } from "../lib/connection.js";
import { replaceContent } from "../lib/dom.js";

/** A service that has just started is not ready for a moment, which needs no banner. */
const START_DELAY_SECONDS = 3;
const CHECK_INTERVAL_SECONDS = 10;
const CHECK_INTERVAL_SECONDS_UNREADY = 1;

let connectionText = "";
let readinessText = "";

connection.addEventListener("lost", (event) => {
  connectionText = `${/** @type {CustomEvent<string>} */ (event).detail} Reconnecting…`;
  show();
});
connection.addEventListener("restored", () => {
  connectionText = "";
  show();
});
void checkReadiness();

async function checkReadiness() {
  await sleep(START_DELAY_SECONDS);
  for (;;) {
    try {
      if (!document.hidden) await sendRequest(buildGet("/health/ready"));
      readinessText = "";
    } catch (error) {
      // Without a response, the requests of the screen say so.
      readinessText = error instanceof ApiError && error.status === 503 ? `Not ready to train. ${error.message}` : "";
    }
    show();
    await sleep(readinessText ? CHECK_INTERVAL_SECONDS_UNREADY : CHECK_INTERVAL_SECONDS);
  }
}

function show() {
  const text = connectionText || readinessText;
  const banner = document.getElementById("connection-banner");
  // Screen readers repeat a live region that is rewritten.
  if (banner && banner.textContent !== text) replaceContent(banner, text);
}
