/** Which screen is shown at which address. */

import { compareScreen } from "./compare.js";
import { found } from "./connection.js";
import { datasetScreen } from "./dataset.js";
import { datasetsScreen } from "./datasets.js";
import "./drop.js";
import { button, element, fill } from "./element.js";
import { jobScreen } from "./job.js";
import { newJobScreen } from "./job_form.js";
import { jobsScreen } from "./jobs.js";
import { networkScreen } from "./network.js";
import { newNetworkScreen } from "./network_form.js";
import { networksScreen } from "./networks.js";
import { overviewScreen } from "./overview.js";
import { predictScreen } from "./predictions.js";
import { nothing } from "./tables.js";

/**
 * Where a screen is: the parts of its address that are its own, and a signal that says when it is left.
 * @typedef {object} Place
 * @property {string[]} parts
 * @property {URLSearchParams} query
 * @property {AbortSignal} signal
 */

/** @typedef {(place: Place) => Promise<{title: string, content: import("./element.js").Child[]}>} Screen */

/** @type {[RegExp, Screen][]} */
const SCREENS = [
  [/^$/, overviewScreen],
  [/^datasets$/, datasetsScreen],
  [/^datasets\/([^/]+)$/, datasetScreen],
  [/^networks$/, networksScreen],
  [/^networks\/new$/, newNetworkScreen],
  [/^networks\/([^/]+)$/, networkScreen],
  [/^networks\/([^/]+)\/predict$/, predictScreen],
  [/^jobs$/, jobsScreen],
  [/^jobs\/new$/, newJobScreen],
  [/^jobs\/([^/]+)$/, jobScreen],
  [/^compare\/([^/]+)$/, compareScreen],
];

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let leaving = new AbortController();

async function show(isFirst = false) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  mark(path);
  const waiting = setTimeout(() => fill(main, element("p", { role: "status", class: "nothing" }, "Loading …")), 150);
  main.setAttribute("aria-busy", "true");
  try {
    const { title, content } = await screenAt(path, query, signal);
    if (signal.aborted) return;
    document.title = `${title} · Nabla`;
    fill(main, element("h1", { tabindex: -1 }, title), ...content);
    if (!isFirst) main.querySelector("h1")?.focus();
    scrollTo(0, 0);
  } catch (error) {
    if (signal.aborted) return;
    found();
    const sentence = error instanceof Error ? error.message : String(error);
    document.title = "Nabla";
    fill(
      main,
      element("h1", { tabindex: -1 }, "This cannot be shown"),
      element("div", { class: "alert", role: "alert" }, element("p", {}, sentence)),
      button("Try again", () => show()),
    );
  } finally {
    clearTimeout(waiting);
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

/** @param {string} path @param {string} query @param {AbortSignal} signal */
async function screenAt(path, query, signal) {
  for (const [pattern, screen] of SCREENS) {
    const match = pattern.exec(path);
    if (match) return screen({ parts: match.slice(1).map(decodeURIComponent), query: new URLSearchParams(query), signal });
  }
  return { title: "There is no such screen", content: [nothing("The address leads nowhere.", ["#/", "To the overview"])] };
}

/** Mark the part of the page that is shown. @param {string} path */
function mark(path) {
  const first = path.split("/")[0] ?? "";
  const shown = `#/${first === "compare" ? "jobs" : first}`;
  for (const one of document.querySelectorAll("header nav a")) {
    if (one.getAttribute("href") === shown) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
}

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => show());
show(true);
