/** One job, updated while it trains. */

import { buildPublishRequest, createCheckpointsTable } from "../components/checkpoints_table.js";
import { createCostChart } from "../components/cost_chart.js";
import { createCurlSnippets } from "../components/curl_snippets.js";
import { createKeyValueList, createSection, createStateBadge } from "../components/data_display.js";
import { createAlert } from "../components/forms.js";
import { createJobControls, listControlRequests } from "../components/job_controls.js";
import { announce } from "../components/live_announcer.js";
import { createRefresh } from "../components/refresh.js";
import { buildGet, getJson, resolveUrl } from "../lib/api.js";
import { createDownloadLink, createElement, createLink, replaceContent } from "../lib/dom.js";
import { EVENTS_REQUEST, subscribe } from "../lib/event_source.js";
import {
  getDisplayName,
  formatDateTime,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
  formatProgress,
} from "../lib/format.js";
import { HISTORY_POLL_INTERVAL_SECONDS, JobHistory, applyEpoch, buildHistoryRequest } from "../lib/job_history.js";
import { describeState, isFinished } from "../lib/job_state.js";

/** @import { Dataset, Job, Network } from "../lib/api_types.js" */

/** Checkpoints are polled, because no event reports them. */
const CHECKPOINT_POLL_INTERVAL_SECONDS = 10;

/** @type {import("../main.js").Screen} */
export async function loadJobScreen({ params: [id = ""], signal }) {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  /** @type {Job} */
  let job = await getJson(path, signal);
  const history = new JobHistory();
  await history.sync(job, signal);
  /** @type {[Network | null, Dataset | null]} */
  const [network, dataset] = await Promise.all([
    getUnlessDeleted(`/v1/networks/${job.network_id}`, signal),
    getUnlessDeleted(`/v1/datasets/${job.dataset_id}`, signal),
  ]);

  const alert = createAlert();
  const state = createElement("div");
  const progress = createElement("div");
  const result = createElement("div");
  const getSeries = () => [{ name: getDisplayName(job), history }];
  const isClassification = dataset ? dataset.classes !== null : !history.has("r2");
  const costChart = createCostChart(() => "cost", getSeries, signal, true);
  const qualityChart = createCostChart(() => (isClassification ? "accuracy" : "r2"), getSeries, signal);
  const controls = createJobControls(() => void refresh());
  const checkpoints = createCheckpointsTable(job.id, signal);
  let checkpointsLoadedAt = 0;

  const loadCheckpoints = () => {
    checkpointsLoadedAt = Date.now();
    return checkpoints.load();
  };
  const refreshCheckpoints = createRefresh(loadCheckpoints, alert, signal);
  const refreshHistory = createRefresh(
    async () => {
      await history.sync(job, signal);
      showProgress();
    },
    alert,
    signal,
    HISTORY_POLL_INTERVAL_SECONDS,
  );
  const showProgress = () => {
    replaceContent(state, renderState(job));
    replaceContent(progress, renderProgress(job, history));
    costChart.redraw();
    qualityChart.redraw();
  };
  let compilationTimer = 0;
  const show = () => {
    controls.update(job);
    replaceContent(result, renderResult(job));
    showProgress();
    // No event tells that code is compiled, which can precede the first epoch.
    clearTimeout(compilationTimer);
    if (job.state === "running" && job.epoch === 0)
      compilationTimer = setTimeout(() => signal.aborted || void refresh(), 1000);
  };
  const refresh = createRefresh(
    async () => {
      const before = job.state;
      job = await getJson(path, signal);
      await history.sync(job, signal);
      await loadCheckpoints();
      if (job.state !== before) announce(`The job is ${job.state}.`);
      show();
    },
    alert,
    signal,
  );

  subscribe(
    {
      onOpen: () => void refresh(),
      // Other jobs change the position in the queue.
      onState: (changed) => (changed.id === job.id || job.state === "queued") && void refresh(),
      onEpoch: (epoch) => {
        if (epoch.job_id !== job.id || isFinished(job)) return;
        const hasGap = history.add(epoch);
        job = applyEpoch(job, epoch);
        showProgress();
        if (hasGap) void refreshHistory();
        if (Date.now() > checkpointsLoadedAt + 1000 * CHECKPOINT_POLL_INTERVAL_SECONDS) void refreshCheckpoints();
      },
    },
    signal,
  );
  await loadCheckpoints();
  show();
  return {
    title: getDisplayName(job),
    content: [
      alert,
      state,
      controls.element,
      progress,
      result,
      createSection("Cost", costChart.element),
      createSection(isClassification ? "Accuracy" : "R²", qualityChart.element),
      createSection("Settings", renderSettings(job, network, dataset)),
      createSection("Checkpoints", checkpoints.element),
      createCurlSnippets(
        buildGet(path),
        buildHistoryRequest(job.id),
        EVENTS_REQUEST,
        ...listControlRequests(job),
        buildPublishRequest(job.id, "NUMBER"),
      ).element,
    ],
  };
}

/** @param {Job} job */
function renderState(job) {
  return createElement("p", { class: "state" }, createStateBadge(job.state), " ", describeState(job));
}

/** @param {Job} job @param {JobHistory} history */
function renderProgress(job, { last }) {
  /**
   * Format a metric of the last epoch, if it has one.
   * @param {string} name @param {(value: number) => string} format
   */
  const formatMetric = (name, format) => typeof last?.[name] === "number" && format(last[name]);
  return createElement(
    "div",
    {},
    createElement("progress", { class: "job-progress", max: job.epochs, value: job.epoch, "aria-label": "Progress" }),
    createKeyValueList([
      ["Epoch", formatProgress(job.epoch, job.epochs)],
      ["Cost", formatNumber(job.cost)],
      ["Validation cost", formatMetric("validation_cost", formatNumber)],
      ["Accuracy", formatMetric("accuracy", formatPercent)],
      ["Validation accuracy", formatMetric("validation_accuracy", formatPercent)],
      ["R²", formatMetric("r2", formatNumber)],
      ["Validation R²", formatMetric("validation_r2", formatNumber)],
      ["Learning rate", formatMetric("learning_rate", formatNumber)],
      ["Training time", formatDuration(job.seconds_elapsed)],
      ["Time remaining (estimate)", job.state === "running" && formatDuration(job.seconds_remaining)],
      ["Rows per second", formatMetric("rows_per_second", (rate) => formatInteger(Math.round(rate)))],
    ]),
  );
}

/** Show the version that the job published. @param {Job} job */
function renderResult(job) {
  if (job.network_version === null) return null;
  const { network_id: id, network_version: version } = job;
  return createElement(
    "p",
    { class: "row" },
    `Published as version ${version} of the network:`,
    createLink(`#/networks/${id}`, "Evaluate"),
    createLink(`#/networks/${id}/predict`, "Predict"),
    createDownloadLink(resolveUrl(`/v1/networks/${id}/versions/${version}/file`).href, "Download weights"),
  );
}

/** @param {Job} job @param {Network | null} network null if it was deleted @param {Dataset | null} dataset likewise */
function renderSettings(job, network, dataset) {
  const attempts = job.attempts > 1 ? `, ${job.attempts} attempts` : "";
  return createKeyValueList([
    ["ID", job.id],
    [
      "Network",
      network ? createLink(`#/networks/${job.network_id}`, getDisplayName(network)) : `${job.network_id} (deleted)`,
    ],
    [
      "Dataset",
      dataset ? createLink(`#/datasets/${job.dataset_id}`, getDisplayName(dataset)) : `${job.dataset_id} (deleted)`,
    ],
    ["Optimizer", job.optimizer?.type],
    ["Learning rate schedule", Array.isArray(job.schedule) ? "stages" : job.schedule?.type],
    ["Batch size", formatInteger(job.batch_size)],
    ["Validation", describeValidation(job.validation)],
    ["Device", job.device ?? job.device_kind],
    ["Reason for the device", job.device_reason],
    ["Seed", String(job.seed)],
    ["Priority", String(job.priority)],
    ["Started", `${formatDateTime(job.started_at)}${attempts}`],
  ]);
}

/** @param {Job["validation"]} validation */
function describeValidation(validation) {
  if (!validation) return "none";
  return validation.fraction ? `${formatPercent(validation.fraction)} of the rows` : "separate dataset";
}

/** @param {string} path @param {AbortSignal} signal */
function getUnlessDeleted(path, signal) {
  return getJson(path, signal).catch((error) => {
    if (signal.aborted) throw error;
    return null;
  });
}
