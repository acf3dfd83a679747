/** Several jobs compared, while they train. */

import { METRICS, createCostChart } from "../components/cost_chart.js";
import { createCurlSnippets } from "../components/curl_snippets.js";
import { createStateBadge } from "../components/data_display.js";
import { createAlert, createField, createSelect } from "../components/forms.js";
import { createRefresh } from "../components/refresh.js";
import { createTable } from "../components/table.js";
import { getJson } from "../lib/api.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { subscribe } from "../lib/event_source.js";
import {
  getDisplayName,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
  formatProgress,
} from "../lib/format.js";
import { HISTORY_POLL_INTERVAL_SECONDS, JobHistory, applyEpoch, buildHistoryRequest } from "../lib/job_history.js";

/** @import { Epoch, Job } from "../lib/api_types.js" */
/** @import { Child } from "../lib/dom.js" */

/**
 * Columns of the table, each rendered from a job and its last epoch.
 * @type {[string, (job: Job, last: Epoch | undefined) => Child][]}
 */
const COLUMNS = [
  ["State", (job) => createStateBadge(job.state)],
  ["Epoch", (job) => formatProgress(job.epoch, job.epochs)],
  ["Cost", (job) => formatNumber(job.cost)],
  ["Validation cost", (_, last) => formatNumber(last?.validation_cost)],
  ["Validation accuracy", (_, last) => formatPercent(last?.validation_accuracy)],
  ["Validation R²", (_, last) => formatNumber(last?.validation_r2)],
  ["Optimizer", (job) => job.optimizer?.type],
  ["Learning rate", (job) => formatNumber(job.learning_rate)],
  ["Batch size", (job) => formatInteger(job.batch_size)],
  ["Training time", (job) => formatDuration(job.seconds_elapsed)],
];

/** @type {import("../main.js").Screen} */
export async function loadCompareJobsScreen({ params: [joinedIds = ""], signal }) {
  const ids = joinedIds.split("+");
  /** @type {Job[]} */
  const jobs = await Promise.all(ids.map((id) => getJson(`/v1/jobs/${encodeURIComponent(id)}`, signal)));
  const entries = new Map(
    jobs.map((job) => [job.id, { job, history: new JobHistory(), cells: COLUMNS.map(() => createElement("span")) }]),
  );
  const alert = createAlert();
  const metric = createSelect("metric", Object.entries(METRICS), "cost");
  const getSeries = () => [...entries.values()].map(({ job, history }) => ({ name: getDisplayName(job), history }));
  const chart = createCostChart(() => metric.value, getSeries, signal, true);

  /** Update the cells in place, so that the focus and the pointer stay on them. */
  const show = () => {
    for (const { job, history, cells } of entries.values())
      cells.forEach((cell, index) => replaceContent(cell, COLUMNS[index]?.[1](job, history.last)));
    chart.redraw();
  };
  const load = async () => {
    for (const entry of entries.values()) {
      entry.job = await getJson(`/v1/jobs/${entry.job.id}`, signal);
      await entry.history.sync(entry.job, signal);
    }
    show();
  };
  const refresh = createRefresh(load, alert, signal);
  const refreshSlowly = createRefresh(load, alert, signal, HISTORY_POLL_INTERVAL_SECONDS);
  await load();
  metric.addEventListener("change", chart.redraw);
  subscribe(
    {
      onOpen: () => void refresh(),
      onState: (job) => entries.has(job.id) && void refresh(),
      onEpoch: (epoch) => {
        const entry = entries.get(epoch.job_id);
        if (!entry) return;
        const hasGap = entry.history.add(epoch);
        entry.job = applyEpoch(entry.job, epoch);
        show();
        if (hasGap) void refreshSlowly();
      },
    },
    signal,
  );
  const head = ["Job", ...COLUMNS.map(([name]) => name)];
  const rows = [...entries.values()].map(({ job, cells }) => [
    createLink(`#/jobs/${job.id}`, getDisplayName(job)),
    ...cells,
  ]);
  return {
    title: "Compare jobs",
    content: [
      createField("Metric", metric),
      chart.element,
      alert,
      createTable("Compared jobs", head, rows),
      createCurlSnippets(...[...entries.keys()].map((id) => buildHistoryRequest(id))).element,
    ],
  };
}
