/** Whether the service answers, said at the top of the page. */

import { fill } from "./element.js";

/** The service does not answer, or not with what was asked for; whoever says so goes on trying. */
export function lost(why = "The connection to the service is lost.") {
  say(`${why} This page goes on by itself as soon as it can.`);
}

export function found() {
  say("");
}

/** For those who listen: what has changed, once, in the words of a sentence. @param {string} sentence */
export function announce(sentence) {
  const place = document.getElementById("said");
  if (place) fill(place, sentence);
}

/** @param {string} sentence */
function say(sentence) {
  const place = document.getElementById("connection");
  if (place && place.textContent !== sentence) fill(place, sentence);
}
