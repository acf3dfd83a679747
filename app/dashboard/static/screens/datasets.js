/** All datasets, and a form that creates one from a file. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState, createSection, createStateBadge } from "../components/data_display.js";
import { buildDatasetRequest, createDatasetFields, readDatasetFields } from "../components/dataset_fields.js";
import { createAlert, createSubmitRow, handleSubmit } from "../components/forms.js";
import { createPaginatedTable } from "../components/pagination.js";
import { PREVIEW_PATH, createTablePreview } from "../components/table_preview.js";
import { createUploadProgress } from "../components/upload_progress.js";
import { buildGet } from "../lib/api.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { getDisplayName, formatBytes, formatDateTime, formatInteger, formatTargets } from "../lib/format.js";

/** @import { Dataset } from "../lib/api_types.js" */

/** @type {import("../main.js").Screen} */
export async function loadDatasetsScreen({ signal }) {
  const { element, load } = createPaginatedTable({
    path: "/v1/datasets",
    caption: "Datasets",
    head: ["Name", "State", "Rows", "Inputs", "Targets", "Size", "Created"],
    row: (/** @type {Dataset} */ dataset) => [
      createLink(`#/datasets/${dataset.id}`, getDisplayName(dataset)),
      createStateBadge(dataset.state),
      formatInteger(dataset.rows),
      formatInteger(dataset.inputs),
      formatTargets(dataset),
      formatBytes(dataset.bytes),
      formatDateTime(dataset.created_at),
    ],
    empty: createEmptyState("No datasets yet. Drop a file above; a CSV table needs no preparation."),
    signal,
  });
  await load();
  return {
    title: "Datasets",
    content: [
      createSection("New dataset", createDatasetForm(signal)),
      createSection("All datasets", element, createCurlSnippets(buildGet("/v1/datasets")).element),
    ],
  };
}

/** @param {AbortSignal} signal */
function createDatasetForm(signal) {
  const fields = createDatasetFields();
  const { target, columnNames } = fields;
  const upload = createUploadProgress();
  const alert = createAlert();
  const form = createElement("form", { "aria-label": "New dataset" });
  let isTargetTyped = false;
  // The service proposes a target unless it gets one.
  const getPreviewFields = () =>
    readDatasetFields(form).filter(([name]) => name !== "name" && (name !== "target" || isTargetTyped));
  const preview = createTablePreview(
    form,
    getPreviewFields,
    ({ names, options }) => {
      replaceContent(
        columnNames,
        names.map((value) => createElement("option", { value })),
      );
      if (isTargetTyped || document.activeElement === target || target.disabled) return;
      target.value = options.target ?? "";
      updateCurl();
    },
    signal,
  );
  form.append(
    fields.dropZone,
    preview.element,
    fields.cleaning,
    fields.main,
    columnNames,
    fields.advanced,
    alert,
    createSubmitRow("Create dataset"),
    upload.element,
  );
  const curl = createCurlSnippets();
  const updateCurl = () => {
    const request = buildDatasetRequest(form);
    curl.update({ ...request, path: PREVIEW_PATH }, request);
  };
  target.addEventListener("input", () => (isTargetTyped = target.value.trim() !== ""));
  target.addEventListener("change", preview.refresh);
  form.addEventListener("input", ({ target: control }) => {
    fields.update(form);
    if (control instanceof HTMLInputElement && control.type === "file" && !isTargetTyped) target.value = "";
    updateCurl();
    if (!(control instanceof HTMLInputElement && control.name === "name")) preview.refresh();
  });
  handleSubmit(form, alert, async () => {
    if (!target.value && !target.disabled) await preview.wait();
    const dataset = await upload.send(buildDatasetRequest(form), signal);
    if (!signal.aborted) location.hash = `#/datasets/${dataset.id}`;
  });
  updateCurl();
  return createElement("div", {}, form, curl.element);
}
