/** What can be done to a job. */

import { button, element, fill } from "./element.js";
import { Values, alertPlace, field, number, onSubmit, select, showProblem } from "./forms.js";
import { ask, post } from "./request.js";

/** @import { Job } from "./answers.js" */

/** @typedef {import("./request.js").Asked} Asked */

/** What can be asked of a job. @param {Job} job */
function requests({ id }) {
  const path = `/v1/jobs/${id}`;
  return {
    pause: post(`${path}/pause`),
    resume: post(`${path}/resume`),
    cancel: (keep = "") => post(`${path}/cancel`, keep ? { keep } : undefined),
    change: (/** @type {number | undefined} */ rate) => ({ method: "PATCH", path, json: { learning_rate: rate } }),
    remove: { method: "DELETE", path },
  };
}

/** @param {Job} job @returns {Asked[]} */
export function commandsOf(job) {
  const { pause, resume, cancel, change, remove } = requests(job);
  return [pause, resume, ...(job.learning_rate === null ? [] : [change(job.learning_rate)]), cancel(), cancel("last"), remove];
}

/**
 * @param {() => void} changed
 * @returns {{place: HTMLElement, show: (job: any) => void}}
 */
export function controls(changed) {
  const buttons = element("div", { class: "row" });
  const place = alertPlace();
  let shown = "";

  /** @param {Asked} asked */
  async function act(asked) {
    fill(place);
    try {
      await ask(asked);
    } catch (error) {
      showProblem(error, place);
    }
    changed();
  }

  /** @param {Job} job */
  function show(job) {
    // Rebuilt only when there is something else to do, so that nothing is lost that is being typed.
    const now = `${job.state} ${job.pausing}`;
    if (now === shown) return;
    shown = now;
    const { pause, resume, remove } = requests(job);
    const hadFocus = buttons.contains(document.activeElement);
    const canPause = job.state === "queued" || (job.state === "running" && !job.pausing);
    const canResume = job.state === "paused" || job.pausing;
    const hasEnded = ["succeeded", "failed", "cancelled"].includes(job.state);
    fill(
      buttons,
      canPause && button("Pause", () => act(pause)),
      canResume && button("Resume", () => act(resume), { class: "main" }),
      !hasEnded && button("Cancel …", () => cancelling(job, act)),
      !hasEnded && job.learning_rate !== null && rate(job, act),
      hasEnded &&
        button("Delete", async () => {
          if (!confirm("Delete this job for good, with its history and its checkpoints?")) return;
          await ask(remove).then(() => (location.hash = "#/jobs"), (error) => showProblem(error, place));
        }),
    );
    if (hadFocus && !buttons.contains(document.activeElement)) buttons.querySelector("button")?.focus();
  }

  return { place: element("div", {}, buttons, place), show };
}

/** @param {Job} job @param {(asked: Asked) => Promise<void>} act */
function rate(job, act) {
  const form = element(
    "form",
    { class: "row", "aria-label": "Learning rate" },
    field("Learning rate η from the next epoch on", number("learning_rate", job.learning_rate ?? "", { min: 0, required: true })),
    element("button", { type: "submit" }, "Change"),
  );
  onSubmit(form, alertPlace(), () => act(requests(job).change(new Values(form).number("learning_rate"))));
  return form;
}

/** @param {Job} job @param {(asked: Asked) => Promise<void>} act */
function cancelling(job, act) {
  const keep = select("keep", [
    ["", "nothing"],
    ["last", "the weights that it has reached"],
    ...(job.early_stopping ? [/** @type {[string, string]} */ (["best", "those of its best epoch"])] : []),
  ]);
  const dialog = element(
    "dialog",
    { "aria-labelledby": "cancelling" },
    element(
      "form",
      { method: "dialog" },
      element("h2", { id: "cancelling" }, "Cancel this job?"),
      element("p", {}, "It cannot be resumed then. Its history and its checkpoints stay."),
      field("Publish as the network's version", keep),
      element("p", { class: "row" }, element("button", { value: "cancel", class: "main" }, "Cancel the job"), element("button", { value: "" }, "Let it go on")),
    ),
  );
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "cancel") void act(requests(job).cancel(keep.value));
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
