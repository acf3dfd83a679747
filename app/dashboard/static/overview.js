/** What the service is doing: the queue, and the slots of its devices. */

import { commands } from "./curl.js";
import { element, fill, link } from "./element.js";
import { alertPlace } from "./forms.js";
import { LIVE, follow, oneAtATime } from "./live.js";
import { get, pause, read } from "./request.js";
import { badge, nothing, section, table } from "./tables.js";
import { called, counted, figure, moment, size, whole } from "./words.js";

/** @import { Dataset, Devices, Job, Network, Page } from "./answers.js" */

const UNFINISHED = get("/v1/jobs?state=running&state=paused&state=queued&limit=200");
const ENDED = get("/v1/jobs?state=succeeded&state=failed&state=cancelled&limit=5");
const DEVICES = get("/v1/devices");
/** Of the load, which no event tells of; and while a slot has no worker. */
const SECONDS_BETWEEN_LOOKS = 5;
const SECONDS_UNTIL_READY = 1;

/** @type {import("./main.js").Screen} */
export async function overviewScreen({ signal }) {
  const steps = element("div");
  const running = element("div");
  const queue = element("div");
  const devices = element("div");
  const recent = element("div");
  /** @type {Map<string, {progress: Element, epoch: Element, cost: Element}>} */
  const cells = new Map();

  /** @type {Job[]} */
  let listed = [];

  const load = async () => {
    /** @type {[Page<Job>, Page<Job>, Devices, Page<Network>, Page<Dataset>]} */
    const [jobs, ended, found, networks, datasets] = await Promise.all([
      read(UNFINISHED.path, signal),
      read(ENDED.path, signal),
      read(DEVICES.path, signal),
      read("/v1/networks?limit=1", signal),
      read("/v1/datasets?limit=1", signal),
    ]);
    const of = (/** @type {Job["state"]} */ state) => jobs.data.filter((one) => one.state === state);
    const queued = of("queued").sort((one, other) => (one.queue_position ?? Infinity) - (other.queue_position ?? Infinity));
    listed = jobs.data;
    fill(steps, firstSteps(datasets.data[0], networks.data[0], jobs.data[0] ?? ended.data[0]));
    fill(running, runningJobs([...of("running"), ...of("paused")], cells));
    fill(queue, queuedJobs(queued));
    fill(devices, devicesOf(found, jobs.data));
    if (jobs.has_more) queue.append(nothing("Only the newest 200 jobs that have not ended are looked at here."));
    fill(recent, recentJobs(ended.data));
  };
  const watch = async () => {
    for (let seconds = SECONDS_UNTIL_READY; ; ) {
      await pause(seconds, signal);
      if (document.hidden) continue;
      /** @type {Devices} */
      const found = await read(DEVICES.path, signal);
      fill(devices, devicesOf(found, listed));
      const isWaiting = found.data.some((device) => device.slots.some((slot) => slot.state === "starting" || slot.state === "lost"));
      seconds = isWaiting ? SECONDS_UNTIL_READY : SECONDS_BETWEEN_LOOKS;
    }
  };
  const failed = alertPlace();
  const refresh = oneAtATime(load, failed, signal);
  await load();
  watch().catch(() => {}); // it ends with the screen
  follow(
    {
      opened: () => void refresh(),
      state: () => void refresh(),
      epoch: (one) => {
        const live = cells.get(one.job_id);
        if (!live) return;
        live.progress.setAttribute("value", String(one.epoch));
        fill(live.epoch, whole(one.epoch));
        fill(live.cost, figure(one.cost));
      },
    },
    signal,
  );
  return {
    title: "Overview",
    content: [
      failed,
      steps,
      section("Running and paused", running),
      section("Queue", queue),
      section("Devices and their slots", devices),
      section("Ended last", recent),
      commands(UNFINISHED, ENDED, DEVICES, LIVE).place,
    ],
  };
}

/** The way from nothing to a trained network; gone once it has been gone. @param {Dataset | undefined} dataset @param {Network | undefined} network @param {Job | undefined} job */
function firstSteps(dataset, network, job) {
  if (dataset && network && job) return null;
  const step = (/** @type {unknown} */ isDone, /** @type {string} */ href, /** @type {string} */ words, /** @type {string} */ why) =>
    element("li", { class: isDone ? "done" : "" }, link(href, words), ` ${why}`, isDone ? element("span", { class: "quiet" }, " Done.") : null);
  return section(
    "Train a network in three steps",
    element(
      "ol",
      { class: "steps" },
      step(dataset, "#/datasets", "Make a dataset", "of a file that you drop: a table is fine as it is."),
      step(network, `#/networks/new${dataset ? `?dataset=${dataset.id}` : ""}`, "Create a network", "for it; all fields are filled in with what suits the data."),
      step(job, "#/jobs/new", "Start a job", "and watch the cost fall. Then try predictions, and download the weights."),
    ),
  );
}

/** @param {Job[]} jobs @param {Map<string, {progress: Element, epoch: Element, cost: Element}>} cells */
function runningJobs(jobs, cells) {
  cells.clear();
  if (jobs.length === 0) return nothing("No job runs.", ["#/jobs/new", "Start one"]);
  return table(
    "Jobs that run or are paused",
    ["Job", "State", "Done", "Epoch", "Cost", "Device"],
    jobs.map((job) => {
      const live = {
        progress: element("progress", { max: job.epochs, value: job.epoch, "aria-label": `Epochs of ${called(job)} done` }),
        epoch: element("span", {}, whole(job.epoch)),
        cost: element("span", {}, figure(job.cost)),
      };
      cells.set(job.id, live);
      return [link(`#/jobs/${job.id}`, called(job)), badge(job.state), live.progress, [live.epoch, ` of ${whole(job.epochs)}`], live.cost, job.device ?? job.device_kind];
    }),
  );
}

/** @param {Job[]} jobs */
function queuedJobs(jobs) {
  if (jobs.length === 0) return nothing("No job waits.");
  return table(
    "Jobs that wait",
    ["Job", "Place", "Priority", "Kind of device", "Waits for", "Since"],
    jobs.map((job) => [
      link(`#/jobs/${job.id}`, called(job)),
      typeof job.queue_position === "number" ? String(job.queue_position + 1) : "–",
      String(job.priority),
      job.device_kind,
      job.blocked_by?.length ? counted(job.blocked_by.length, "other job") : "a slot",
      moment(job.created_at),
    ]),
  );
}

/** @param {Devices} found @param {Job[]} jobs */
function devicesOf(found, jobs) {
  const names = new Map(jobs.map((job) => [job.id, called(job)]));
  return element(
    "div",
    {},
    table(
      "Devices and their slots",
      ["Device", "Name", "Slots that are busy", "Memory that is taken", "Slots"],
      found.data.map((device) => {
        const busy = device.slots.filter((slot) => slot.state === "busy").length;
        const taken = device.memory_total_bytes - device.memory_free_bytes;
        return [
          device.id,
          device.name,
          [load(busy, device.slots.length, `Slots of ${device.id} that are busy`), ` ${busy} of ${device.slots.length}`],
          [load(taken, device.memory_total_bytes, `Memory of ${device.id} that is taken`), ` ${size(taken)} of ${size(device.memory_total_bytes)}`],
          element("ul", { class: "slots" }, device.slots.map((slot) =>
            element("li", {}, `${slot.name}, ${counted(slot.cores, "core")}: `, badge(slot.state), slot.job_id && [" ", link(`#/jobs/${slot.job_id}`, names.get(slot.job_id) ?? slot.job_id)]),
          )),
        ];
      }),
    ),
    found.missing && element("p", { class: "quiet" }, `No GPU: ${found.missing.replace(/\.$/, "")}.`),
  );
}

/** @param {number} value @param {number} max @param {string} label */
function load(value, max, label) {
  return element("meter", { value, max: max || 1, "aria-label": label }, `${value} of ${max}`);
}

/** @param {Job[]} jobs */
function recentJobs(jobs) {
  if (jobs.length === 0) return nothing("No job has ended yet.");
  return table(
    "Jobs that ended last",
    ["Job", "State", "Epochs", "Cost", "Ended"],
    jobs.map((job) => [link(`#/jobs/${job.id}`, called(job)), badge(job.state), whole(job.epoch), figure(job.cost), moment(job.finished_at)]),
  );
}
