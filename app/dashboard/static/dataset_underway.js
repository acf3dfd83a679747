/** A dataset that is not ready yet: how far it is, or why it will not be. */

import { element, fill } from "./element.js";
import { alertPlace, showProblem } from "./forms.js";
import { pause, read } from "./request.js";
import { badge } from "./tables.js";
import { counted, whole } from "./words.js";

/** @import { Dataset } from "./answers.js" */

const SECONDS_BETWEEN_LOOKS = 0.5;

/** @param {string} path @param {Dataset} first as it is now @param {AbortSignal} signal */
export function underway(path, first, signal) {
  const state = element("p", { role: "status" });
  const sentence = element("p");
  const bar = element("progress", { "aria-label": "Read", max: 1 });
  const place = alertPlace();

  /** @param {Dataset} dataset */
  function show(dataset) {
    if (state.textContent !== dataset.state) fill(state, badge(dataset.state));
    fill(sentence, inWords(dataset));
    const { progress, errors } = dataset;
    bar.hidden = dataset.state !== "reading";
    if (progress?.bytes_total) bar.value = progress.bytes_read / progress.bytes_total;
    fill(place, (errors ?? []).map((one) => element("p", {}, `${one.field}: ${one.message}`)));
  }

  async function look() {
    for (let dataset = first; ; dataset = await read(path, signal)) {
      if (dataset.state === "ready") return dispatchEvent(new HashChangeEvent("hashchange"));
      show(dataset);
      if (dataset.state === "failed") return;
      await pause(SECONDS_BETWEEN_LOOKS, signal);
    }
  }

  look().catch((error) => {
    if (signal.aborted) return;
    for (const one of [state, sentence, bar]) one.remove();
    showProblem(error, place);
  });
  return element("div", {}, state, sentence, bar, place);
}

/** @param {Dataset} dataset */
function inWords({ state, chunks, progress }) {
  if (state === "failed") return null;
  if (state === "receiving") return `It is open: ${counted(chunks?.length ?? 0, "part")} of it came so far. It is read as soon as whoever sends it closes it.`;
  return `It is being read: ${whole(progress?.rows ?? 0)} rows so far. This page shows it when it is ready.`;
}
