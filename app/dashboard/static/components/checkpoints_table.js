/** The checkpoints of a job, to download, or to publish as a version of the network. */

import { buildPost, getJson, resolveUrl, sendRequest } from "../lib/api.js";
import { createButton, createDownloadLink, createElement, replaceContent } from "../lib/dom.js";
import { formatBytes, formatDateTime, formatDuration, formatInteger, formatNumber } from "../lib/format.js";
import { createEmptyState } from "./data_display.js";
import { createAlert, showError } from "./forms.js";
import { createTable } from "./table.js";

/** @import { Checkpoint } from "../lib/api_types.js" */

const HEAD = ["Number", "Epoch", "Cost", "Training time", "Size", "Saved", ""];

/** @param {string} jobId @param {number | string} number */
export function buildPublishRequest(jobId, number) {
  return buildPost(`/v1/jobs/${jobId}/checkpoints/${number}/publish`);
}

/** @param {string} jobId @param {AbortSignal} signal */
export function createCheckpointsTable(jobId, signal) {
  const path = `/v1/jobs/${jobId}/checkpoints`;
  const table = createElement("div");
  const alert = createAlert();
  let rendered = "";

  async function load() {
    const { data } = await getJson(path, signal);
    if (JSON.stringify(data) === rendered) return;
    rendered = JSON.stringify(data);
    const isEmpty = data.length === 0;
    replaceContent(
      table,
      isEmpty ? createEmptyState("No checkpoints yet.") : createTable("Checkpoints", HEAD, data.map(renderRow)),
    );
  }

  /** @param {Checkpoint} checkpoint */
  function renderRow(checkpoint) {
    const { number } = checkpoint;
    return [
      String(number),
      formatInteger(checkpoint.epoch),
      formatNumber(checkpoint.cost),
      formatDuration(checkpoint.seconds_elapsed),
      formatBytes(checkpoint.bytes),
      formatDateTime(checkpoint.created_at),
      [
        createDownloadLink(resolveUrl(`${path}/${number}`).href, "Download", {
          "aria-label": `Download checkpoint ${number}`,
        }),
        " ",
        createButton("Publish", () => publish(number), { "aria-label": `Publish checkpoint ${number}` }),
      ],
    ];
  }

  /** @param {number} number */
  async function publish(number) {
    try {
      const { version } = await sendRequest(buildPublishRequest(jobId, number));
      replaceContent(
        alert,
        createElement("p", { class: "success" }, `Published as version ${version} of the network.`),
      );
    } catch (error) {
      showError(error, alert);
    }
  }

  return { element: createElement("div", {}, alert, table), load };
}
