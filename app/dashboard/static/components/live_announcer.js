/** Announcements for screen readers. */

import { replaceContent } from "../lib/dom.js";

/** Announce a change once, through a visually hidden live region. @param {string} sentence */
export function announce(sentence) {
  const region = document.getElementById("live-region");
  if (region) replaceContent(region, sentence);
}
