/** All jobs, updated while they train. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState, createStateBadge } from "../components/data_display.js";
import { createAlert } from "../components/forms.js";
import { createPaginatedTable } from "../components/pagination.js";
import { createRefresh } from "../components/refresh.js";
import { buildGet } from "../lib/api.js";
import { createButton, createElement, createLink, replaceContent } from "../lib/dom.js";
import { EVENTS_REQUEST, subscribe } from "../lib/event_source.js";
import { getDisplayName, formatDateTime, formatNumber, formatProgress } from "../lib/format.js";

/** @import { Job } from "../lib/api_types.js" */

const MAX_COMPARED = 8;

/** @type {import("../main.js").Screen} */
export async function loadJobsScreen({ signal }) {
  /** @type {Set<string>} */
  const selectedIds = new Set();
  /** The cells that events update. @type {Map<string, {epochs: number, epoch: Element, cost: Element}>} */
  const liveCells = new Map();
  const actions = createElement("p", { class: "row" });

  const { element, load } = createPaginatedTable({
    path: "/v1/jobs",
    caption: "Jobs",
    head: ["Name", "State", "Epoch", "Cost", "Optimizer", "Learning rate", "Created", "Compare"],
    row: (/** @type {Job} */ job) => {
      const epoch = createElement("span", {}, formatProgress(job.epoch, job.epochs));
      const cost = createElement("span", {}, formatNumber(job.cost));
      liveCells.set(job.id, { epochs: job.epochs, epoch, cost });
      return [
        createLink(`#/jobs/${job.id}`, getDisplayName(job)),
        createStateBadge(job.state),
        epoch,
        cost,
        job.optimizer?.type,
        formatNumber(job.learning_rate),
        formatDateTime(job.created_at),
        createCheckbox(job),
      ];
    },
    empty: createEmptyState("No jobs yet."),
    signal,
  });

  /** @param {Job} job */
  function createCheckbox(job) {
    const checkbox = createElement("input", {
      type: "checkbox",
      "aria-label": `Compare ${getDisplayName(job)}`,
      checked: selectedIds.has(job.id),
    });
    checkbox.addEventListener("change", () => {
      if (checkbox.checked) selectedIds.add(job.id);
      else selectedIds.delete(job.id);
      updateActions();
    });
    return checkbox;
  }

  function updateActions() {
    const ids = [...selectedIds].slice(0, MAX_COMPARED);
    const compare = () => (location.hash = `#/compare/${ids.join("+")}`);
    replaceContent(
      actions,
      createLink("#/jobs/new", "Start a job"),
      createButton("Compare selected jobs", compare, { disabled: ids.length < 2 }),
      selectedIds.size > MAX_COMPARED && `Only the first ${MAX_COMPARED} are compared.`,
    );
  }

  const alert = createAlert();
  const refresh = createRefresh(load, alert, signal);
  await load();
  updateActions();
  subscribe(
    {
      onOpen: () => void refresh(),
      onState: () => void refresh(),
      onEpoch: ({ job_id, epoch, cost }) => {
        const cells = liveCells.get(job_id);
        if (!cells) return;
        replaceContent(cells.epoch, formatProgress(epoch, cells.epochs));
        replaceContent(cells.cost, formatNumber(cost));
      },
    },
    signal,
  );
  return {
    title: "Jobs",
    content: [actions, alert, element, createCurlSnippets(buildGet("/v1/jobs"), EVENTS_REQUEST).element],
  };
}
