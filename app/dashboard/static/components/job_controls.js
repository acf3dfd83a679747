/** Buttons that pause, resume, cancel, change and delete a job. */

import { buildDelete, buildPatch, buildPost, sendRequest } from "../lib/api.js";
import { createButton, createElement, replaceContent } from "../lib/dom.js";
import { isFinished } from "../lib/job_state.js";
import { createDeleteButton } from "./delete_button.js";
import {
  FormValues,
  createAlert,
  createField,
  createNumberInput,
  createSelect,
  handleSubmit,
  showError,
} from "./forms.js";

/** @import { ApiRequest } from "../lib/api.js" */
/** @import { Job } from "../lib/api_types.js" */

/** @param {Job} job */
function buildRequests({ id }) {
  const path = `/v1/jobs/${id}`;
  return {
    pause: buildPost(`${path}/pause`),
    resume: buildPost(`${path}/resume`),
    cancel: (keep = "") => buildPost(`${path}/cancel`, keep ? { keep } : undefined),
    changeLearningRate: (/** @type {number | undefined} */ rate) => buildPatch(path, { learning_rate: rate }),
    delete: buildDelete(path),
  };
}

/** List the requests that the controls send. @param {Job} job @returns {ApiRequest[]} */
export function listControlRequests(job) {
  const requests = buildRequests(job);
  return [
    requests.pause,
    requests.resume,
    ...(job.learning_rate === null ? [] : [requests.changeLearningRate(job.learning_rate)]),
    requests.cancel(),
    requests.cancel("last"),
    requests.delete,
  ];
}

/**
 * @param {() => void} onChange called after every request
 * @returns {{element: HTMLElement, update: (job: Job) => void}}
 */
export function createJobControls(onChange) {
  const controls = createElement("div", { class: "row" });
  const alert = createAlert();
  let renderedState = "";

  /** @param {ApiRequest} request */
  async function send(request) {
    replaceContent(alert);
    try {
      await sendRequest(request);
    } catch (error) {
      showError(error, alert);
    }
    onChange();
  }

  /** @param {Job} job */
  function update(job) {
    // Rebuilt only when the available controls change, so that a rate being typed is not lost.
    const state = `${job.state} ${job.pausing}`;
    if (state === renderedState) return;
    renderedState = state;
    const requests = buildRequests(job);
    const hadFocus = controls.contains(document.activeElement);
    const canPause = job.state === "queued" || (job.state === "running" && !job.pausing);
    const canResume = job.state === "paused" || job.pausing;
    const canCancel = !isFinished(job);
    replaceContent(
      controls,
      canPause && createButton("Pause", () => send(requests.pause)),
      canResume && createButton("Resume", () => send(requests.resume), { class: "primary" }),
      canCancel && createButton("Cancel…", () => openCancelDialog(job, send)),
      canCancel && job.learning_rate !== null && createLearningRateForm(job, send),
      !canCancel &&
        createDeleteButton(requests.delete, "Delete this job with its history and checkpoints?", "#/jobs", alert),
    );
    if (hadFocus && !controls.contains(document.activeElement)) controls.querySelector("button")?.focus();
  }

  return { element: createElement("div", {}, controls, alert), update };
}

/** @param {Job} job @param {(request: ApiRequest) => Promise<void>} send */
function createLearningRateForm(job, send) {
  const rate = createNumberInput("learning_rate", job.learning_rate ?? "", { min: 0, required: true });
  const form = createElement(
    "form",
    { class: "row", "aria-label": "Learning rate" },
    createField("Learning rate η from the next epoch", rate),
    createElement("button", { type: "submit" }, "Change"),
  );
  handleSubmit(form, createAlert(), () =>
    send(buildRequests(job).changeLearningRate(new FormValues(form).getNumber("learning_rate"))),
  );
  return form;
}

/** @param {Job} job @param {(request: ApiRequest) => Promise<void>} send */
function openCancelDialog(job, send) {
  const keep = createSelect("keep", [
    ["", "no weights"],
    ["last", "the latest weights"],
    ...(job.early_stopping ? [/** @type {[string, string]} */ (["best", "the weights of the best epoch"])] : []),
  ]);
  const dialog = createElement(
    "dialog",
    { "aria-labelledby": "cancel-dialog-title" },
    createElement(
      "form",
      { method: "dialog" },
      createElement("h2", { id: "cancel-dialog-title" }, "Cancel this job?"),
      createElement("p", {}, "A cancelled job cannot be resumed. Its history and checkpoints are kept."),
      createField("Publish as a new version", keep),
      createElement(
        "p",
        { class: "row" },
        createElement("button", { value: "cancel", class: "primary" }, "Cancel job"),
        createElement("button", { value: "" }, "Keep running"),
      ),
    ),
  );
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "cancel") void send(buildRequests(job).cancel(keep.value));
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
