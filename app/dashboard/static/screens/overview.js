/** The overview: running jobs, the queue, the devices, and jobs that finished recently. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState, createSection, createStateBadge } from "../components/data_display.js";
import { createAlert } from "../components/forms.js";
import { createRefresh } from "../components/refresh.js";
import { createTable } from "../components/table.js";
import { buildGet, getJson, sleep } from "../lib/api.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { EVENTS_REQUEST, subscribe } from "../lib/event_source.js";
import {
  getDisplayName,
  formatBytes,
  formatCount,
  formatDateTime,
  formatInteger,
  formatNumber,
} from "../lib/format.js";

/** @import { Dataset, Device, Devices, Job, Network, Page } from "../lib/api_types.js" */

const MAX_UNFINISHED = 200;
const UNFINISHED_REQUEST = buildGet(`/v1/jobs?state=running&state=paused&state=queued&limit=${MAX_UNFINISHED}`);
const FINISHED_REQUEST = buildGet("/v1/jobs?state=succeeded&state=failed&state=cancelled&limit=5");
const DEVICES_REQUEST = buildGet("/v1/devices");
/** Devices are polled, because no event reports their load; more often while a slot has no worker. */
const POLL_INTERVAL_SECONDS = 5;
const STARTUP_POLL_INTERVAL_SECONDS = 1;

/** @typedef {{progress: Element, epoch: Element, cost: Element}} LiveCells updated by events */

/** @type {import("../main.js").Screen} */
export async function loadOverviewScreen({ signal }) {
  const steps = createElement("div");
  const running = createElement("div");
  const queue = createElement("div");
  const deviceTable = createElement("div");
  const recent = createElement("div");
  /** @type {Map<string, LiveCells>} */
  const liveCells = new Map();
  /** @type {Job[]} */
  let unfinished = [];

  const load = async () => {
    /** @type {[Page<Job>, Page<Job>, Devices, Page<Network>, Page<Dataset>]} */
    const [jobs, finished, devices, networks, datasets] = await Promise.all([
      getJson(UNFINISHED_REQUEST.path, signal),
      getJson(FINISHED_REQUEST.path, signal),
      getJson(DEVICES_REQUEST.path, signal),
      getJson("/v1/networks?limit=1", signal),
      getJson("/v1/datasets?limit=1", signal),
    ]);
    const inState = (/** @type {Job["state"]} */ state) => jobs.data.filter((job) => job.state === state);
    unfinished = jobs.data;
    replaceContent(steps, renderFirstSteps(datasets.data[0], networks.data[0], jobs.data[0] ?? finished.data[0]));
    replaceContent(running, renderRunningJobs([...inState("running"), ...inState("paused")], liveCells));
    replaceContent(
      queue,
      renderQueue(inState("queued")),
      jobs.has_more && createEmptyState(`Only the newest ${MAX_UNFINISHED} unfinished jobs are shown.`),
    );
    replaceContent(deviceTable, renderDevices(devices, unfinished));
    replaceContent(recent, renderFinishedJobs(finished.data));
  };
  const pollDevices = async () => {
    for (let interval = STARTUP_POLL_INTERVAL_SECONDS; ;) {
      await sleep(interval, signal);
      if (document.hidden) continue;
      /** @type {Devices} */
      const devices = await getJson(DEVICES_REQUEST.path, signal);
      replaceContent(deviceTable, renderDevices(devices, unfinished));
      interval = devices.data.some(hasSlotWithoutWorker) ? STARTUP_POLL_INTERVAL_SECONDS : POLL_INTERVAL_SECONDS;
    }
  };
  const alert = createAlert();
  const refresh = createRefresh(load, alert, signal);
  await load();
  pollDevices().catch(() => {}); // rejects when the screen is left
  subscribe(
    {
      onOpen: () => void refresh(),
      onState: () => void refresh(),
      onEpoch: ({ job_id, epoch, cost }) => {
        const cells = liveCells.get(job_id);
        if (!cells) return;
        cells.progress.setAttribute("value", String(epoch));
        replaceContent(cells.epoch, formatInteger(epoch));
        replaceContent(cells.cost, formatNumber(cost));
      },
    },
    signal,
  );
  return {
    title: "Overview",
    content: [
      alert,
      steps,
      createSection("Running and paused jobs", running),
      createSection("Queue", queue),
      createSection("Devices", deviceTable),
      createSection("Recently finished jobs", recent),
      createCurlSnippets(UNFINISHED_REQUEST, FINISHED_REQUEST, DEVICES_REQUEST, EVENTS_REQUEST).element,
    ],
  };
}

/**
 * Render the steps to a first trained network, until there is a job.
 * @param {Dataset | undefined} dataset @param {Network | undefined} network @param {Job | undefined} job
 */
function renderFirstSteps(dataset, network, job) {
  if (dataset && network && job) return null;
  return createSection(
    "Train a network in three steps",
    createElement(
      "ol",
      { class: "steps" },
      renderStep(dataset, "#/datasets", "Create a dataset", "from a file, such as a CSV table."),
      renderStep(
        network,
        `#/networks/new${dataset ? `?dataset=${dataset.id}` : ""}`,
        "Create a network",
        "for it. The form is filled in with values that suit the data.",
      ),
      renderStep(
        job,
        "#/jobs/new",
        "Start a job",
        "and watch the cost (loss) fall. Then make predictions, or download the weights.",
      ),
    ),
  );
}

/** @param {unknown} isDone @param {string} href @param {string} action @param {string} explanation */
function renderStep(isDone, href, action, explanation) {
  return createElement(
    "li",
    { class: isDone ? "done" : "" },
    createLink(href, action),
    ` ${explanation}`,
    isDone ? createElement("span", { class: "muted" }, " Done.") : null,
  );
}

/** @param {Job[]} jobs @param {Map<string, LiveCells>} liveCells filled with the cells of the jobs */
function renderRunningJobs(jobs, liveCells) {
  liveCells.clear();
  if (jobs.length === 0) return createEmptyState("No running jobs.", ["#/jobs/new", "Start a job"]);
  return createTable(
    "Running and paused jobs",
    ["Job", "State", "Progress", "Epoch", "Cost", "Device"],
    jobs.map((job) => {
      const name = getDisplayName(job);
      const progress = createElement("progress", {
        max: job.epochs,
        value: job.epoch,
        "aria-label": `Progress of ${name}`,
      });
      const epoch = createElement("span", {}, formatInteger(job.epoch));
      const cost = createElement("span", {}, formatNumber(job.cost));
      liveCells.set(job.id, { progress, epoch, cost });
      return [
        createLink(`#/jobs/${job.id}`, name),
        createStateBadge(job.state),
        progress,
        [epoch, ` of ${formatInteger(job.epochs)}`],
        cost,
        job.device ?? job.device_kind,
      ];
    }),
  );
}

/** @param {Job[]} jobs */
function renderQueue(jobs) {
  if (jobs.length === 0) return createEmptyState("The queue is empty.");
  const position = (/** @type {Job} */ job) => job.queue_position ?? Infinity;
  return createTable(
    "Queued jobs",
    ["Job", "Position", "Priority", "Device", "Waiting for", "Created"],
    jobs
      .toSorted((job, other) => position(job) - position(other))
      .map((job) => [
        createLink(`#/jobs/${job.id}`, getDisplayName(job)),
        typeof job.queue_position === "number" ? String(job.queue_position + 1) : "–",
        String(job.priority),
        job.device_kind,
        job.blocked_by?.length ? formatCount(job.blocked_by.length, "other job") : "a slot",
        formatDateTime(job.created_at),
      ]),
  );
}

/** @param {Devices} devices @param {Job[]} jobs whose names are shown */
function renderDevices({ data, gpu_unavailable_reason: reason }, jobs) {
  const names = new Map(jobs.map((job) => [job.id, getDisplayName(job)]));
  return createElement(
    "div",
    {},
    createTable(
      "Devices",
      ["Device", "Name", "Busy slots", "Memory used", "Slots"],
      data.map((device) => {
        const busy = device.slots.filter((slot) => slot.state === "busy").length;
        const memory = device.memory_total_bytes;
        const used = memory - device.memory_free_bytes;
        return [
          device.id,
          device.name,
          [createMeter(busy, device.slots.length, `Busy slots of ${device.id}`), ` ${busy} of ${device.slots.length}`],
          [createMeter(used, memory, `Memory used of ${device.id}`), ` ${formatBytes(used)} of ${formatBytes(memory)}`],
          renderSlots(device, names),
        ];
      }),
    ),
    reason && createElement("p", { class: "muted" }, `No GPU: ${reason.replace(/\.$/, "")}.`),
  );
}

/** @param {Device} device @param {Map<string, string>} jobNames */
function renderSlots({ slots }, jobNames) {
  return createElement(
    "ul",
    { class: "slots" },
    slots.map(({ name, cores, state, job_id }) =>
      createElement(
        "li",
        {},
        `${name}, ${formatCount(cores, "core")}: `,
        createStateBadge(state),
        job_id && [" ", createLink(`#/jobs/${job_id}`, jobNames.get(job_id) ?? job_id)],
      ),
    ),
  );
}

/** @param {Device} device */
function hasSlotWithoutWorker({ slots }) {
  return slots.some(({ state }) => state === "starting" || state === "lost");
}

/** @param {number} value @param {number} max @param {string} label */
function createMeter(value, max, label) {
  return createElement("meter", { value, max: max || 1, "aria-label": label }, `${value} of ${max}`);
}

/** @param {Job[]} jobs */
function renderFinishedJobs(jobs) {
  if (jobs.length === 0) return createEmptyState("No finished jobs yet.");
  return createTable(
    "Recently finished jobs",
    ["Job", "State", "Epochs", "Cost", "Finished"],
    jobs.map((job) => [
      createLink(`#/jobs/${job.id}`, getDisplayName(job)),
      createStateBadge(job.state),
      formatInteger(job.epoch),
      formatNumber(job.cost),
      formatDateTime(job.finished_at),
    ]),
  );
}
