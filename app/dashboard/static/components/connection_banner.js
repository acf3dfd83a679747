/** A banner at the top of the page while the service does not respond. */

import { connection } from "../lib/connection.js";
import { replaceContent } from "../lib/dom.js";

connection.addEventListener("lost", (event) => {
  setText(`${/** @type {CustomEvent<string>} */ (event).detail} Reconnecting…`);
});
connection.addEventListener("restored", () => setText(""));

/** @param {string} text */
function setText(text) {
  const banner = document.getElementById("connection-banner");
  // Screen readers repeat a live region that is rewritten.
  if (banner && banner.textContent !== text) replaceContent(banner, text);
}
