/** The router: shows the screen that the hash of the URL names. */

import "./components/connection_banner.js";
import { createEmptyState } from "./components/data_display.js";
import "./components/drag_and_drop.js";
import { reportConnectionRestored } from "./lib/connection.js";
import { createButton, createElement, replaceContent } from "./lib/dom.js";
import { formatError } from "./lib/format.js";
import { loadCompareJobsScreen } from "./screens/compare_jobs.js";
import { loadDatasetScreen } from "./screens/dataset.js";
import { loadDatasetsScreen } from "./screens/datasets.js";
import { loadJobScreen } from "./screens/job.js";
import { loadJobsScreen } from "./screens/jobs.js";
import { loadNetworkScreen } from "./screens/network.js";
import { loadNetworksScreen } from "./screens/networks.js";
import { loadNewJobScreen } from "./screens/new_job.js";
import { loadNewNetworkScreen } from "./screens/new_network.js";
import { loadOverviewScreen } from "./screens/overview.js";
import { loadPredictScreen } from "./screens/predict.js";

/** @import { Child } from "./lib/dom.js" */

/**
 * @typedef {object} Route
 * @property {string[]} params the groups of the pattern that matched
 * @property {URLSearchParams} query
 * @property {AbortSignal} signal aborts when the screen is left
 */

/** @typedef {(route: Route) => Promise<{title: string, content: Child[]}>} Screen */

/** @type {[RegExp, Screen][]} */
const ROUTES = [
  [/^$/, loadOverviewScreen],
  [/^datasets$/, loadDatasetsScreen],
  [/^datasets\/([^/]+)$/, loadDatasetScreen],
  [/^networks$/, loadNetworksScreen],
  [/^networks\/new$/, loadNewNetworkScreen],
  [/^networks\/([^/]+)$/, loadNetworkScreen],
  [/^networks\/([^/]+)\/predict$/, loadPredictScreen],
  [/^jobs$/, loadJobsScreen],
  [/^jobs\/new$/, loadNewJobScreen],
  [/^jobs\/([^/]+)$/, loadJobScreen],
  [/^compare\/([^/]+)$/, loadCompareJobsScreen],
];
const LOADING_DELAY_MS = 150;

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let screenController = new AbortController();

async function showScreen(isFirst = false) {
  screenController.abort();
  screenController = new AbortController();
  const { signal } = screenController;
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  markCurrentLink(path);
  const loading = setTimeout(() => replaceContent(main, createLoadingText()), LOADING_DELAY_MS);
  main.setAttribute("aria-busy", "true");
  try {
    const { title, content } = await loadScreen(path, query, signal);
    if (signal.aborted) return;
    document.title = `${title} · Nabla`;
    replaceContent(main, createHeading(title), ...content);
    if (!isFirst) main.querySelector("h1")?.focus();
    scrollTo(0, 0);
  } catch (error) {
    if (signal.aborted) return;
    // The alert below says what is wrong; the banner would only repeat it.
    reportConnectionRestored();
    document.title = "Nabla";
    replaceContent(
      main,
      createHeading("This page could not be loaded"),
      createElement("div", { class: "alert", role: "alert" }, createElement("p", {}, formatError(error))),
      createButton("Try again", () => showScreen()),
    );
  } finally {
    clearTimeout(loading);
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

/** @param {string} path @param {string} query @param {AbortSignal} signal */
async function loadScreen(path, query, signal) {
  for (const [pattern, screen] of ROUTES) {
    const match = pattern.exec(path);
    if (match)
      return screen({ params: match.slice(1).map(decodeURIComponent), query: new URLSearchParams(query), signal });
  }
  const content = [createEmptyState("No page has this address.", ["#/", "Go to the overview"])];
  return { title: "Page not found", content };
}

/** @param {string} title */
function createHeading(title) {
  return createElement("h1", { tabindex: -1 }, title);
}

function createLoadingText() {
  return createElement("p", { role: "status", class: "empty-state" }, "Loading…");
}

/** Mark the navigation link of the section that is shown. @param {string} path */
function markCurrentLink(path) {
  const section = path.split("/")[0] ?? "";
  const href = `#/${section === "compare" ? "jobs" : section}`;
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === href) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.querySelector(".skip-link")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => showScreen());
showScreen(true);
