/** The progress of an upload or ingest, or the errors that stopped it. */

import { pollJson } from "../lib/api.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { formatCount, formatInteger } from "../lib/format.js";
import { createStateBadge } from "./data_display.js";
import { createAlert, showError } from "./forms.js";

/** @import { Dataset } from "../lib/api_types.js" */

/**
 * Show the progress of a dataset until it has failed or is ready; if it is ready, reload the screen.
 * @param {string} path @param {Dataset} dataset its state so far @param {AbortSignal} signal
 */
export function createIngestProgress(path, dataset, signal) {
  const state = createElement("p", { role: "status" });
  const description = createElement("p");
  const bar = createElement("progress", { "aria-label": "Ingest progress", max: 1 });
  const alert = createAlert();

  /** @param {Dataset} dataset */
  function update(dataset) {
    if (dataset.state === "ready") return true;
    if (state.textContent !== dataset.state) replaceContent(state, createStateBadge(dataset.state));
    replaceContent(description, describeProgress(dataset));
    const { progress, errors } = dataset;
    bar.hidden = dataset.state !== "reading";
    if (progress?.bytes_total) bar.value = progress.bytes_read / progress.bytes_total;
    replaceContent(
      alert,
      (errors ?? []).map(({ field, message }) => createElement("p", {}, `${field}: ${message}`)),
    );
    return dataset.state === "failed";
  }

  pollJson(path, dataset, update, signal).then(
    ({ state }) => {
      if (state === "ready") dispatchEvent(new HashChangeEvent("hashchange"));
    },
    (error) => {
      if (signal.aborted) return;
      for (const element of [state, description, bar]) element.remove();
      showError(error, alert);
    },
  );
  return createElement("div", {}, state, description, bar, alert);
}

/** @param {Dataset} dataset */
function describeProgress({ state, chunks, progress }) {
  if (state === "failed") return null;
  if (state === "receiving")
    return `Open: ${formatCount(chunks?.length ?? 0, "chunk")} received. Ingest starts when the upload is closed.`;
  return `Reading: ${formatInteger(progress?.rows ?? 0)} rows so far. The dataset appears here when it is ready.`;
}
