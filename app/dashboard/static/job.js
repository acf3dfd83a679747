/** One job, as it trains. */

import { checkpoints } from "./checkpoints.js";
import { announce } from "./connection.js";
import { commands } from "./curl.js";
import { curves } from "./curves.js";
import { element, fill, link } from "./element.js";
import { alertPlace } from "./forms.js";
import { History, historyOf, latest } from "./history.js";
import { commandsOf, controls } from "./job_controls.js";
import { LIVE, follow, oneAtATime } from "./live.js";
import { get, read } from "./request.js";
import { badge, facts, section } from "./tables.js";
import { called, counted, duration, figure, moment, percent, whole } from "./words.js";

/** @import { Dataset, Job, Network } from "./answers.js" */

const ENDED = ["succeeded", "failed", "cancelled"];
/** Of checkpoints, which no event tells of. */
const SECONDS_BETWEEN_LOOKS = 10;
/** Why a job ended where it did, in words. @type {Record<string, string>} */
const STOPPED = {
  epochs: "all epochs are done",
  patience: "the cost had stopped falling",
  target_cost: "the target cost was reached",
  max_seconds: "the time was over",
  converged: "no better step was found",
};

/** @type {import("./main.js").Screen} */
export async function jobScreen({ parts: [id = ""], signal }) {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  /** @type {Job} */
  let job = await read(path, signal);
  const history = new History();
  await history.catchUp(job, signal);
  const [network, dataset] = await Promise.all([named(`/v1/networks/${job.network_id}`, signal), named(`/v1/datasets/${job.dataset_id}`, signal)]);

  const failed = alertPlace();
  const state = element("div");
  const progress = element("div");
  const after = element("div");
  const shown = () => [{ name: called(job), history }];
  const cost = curves(() => "cost", shown, signal, true);
  const isOfClasses = dataset ? dataset.classes !== null : !history.has("r2");
  const quality = curves(() => (isOfClasses ? "accuracy" : "r2"), shown, signal);
  const control = controls(() => void refresh());
  const saved = checkpoints(job.id, signal);
  let looked = 0;
  const look = () => {
    looked = Date.now();
    return saved.load();
  };
  const lookAgain = oneAtATime(look, failed, signal);
  const show = () => {
    fill(state, stateOf(job));
    fill(progress, progressOf(job, history));
    cost.draw();
    quality.draw();
  };
  const refresh = oneAtATime(async () => {
    const before = job.state;
    job = await read(path, signal);
    await history.catchUp(job, signal);
    await look();
    if (job.state !== before) announce(`The job is ${job.state}.`);
    control.show(job);
    fill(after, whatNext(job));
    show();
  }, failed, signal);

  follow(
    {
      opened: () => void refresh(),
      // The place in the queue changes with those of others.
      state: (one) => (one.id === job.id || job.state === "queued") && void refresh(),
      epoch: (one) => {
        if (one.job_id !== job.id || ENDED.includes(job.state)) return;
        history.add(one);
        job = { ...job, ...latest(job, one) };
        show();
        if (Date.now() > looked + 1000 * SECONDS_BETWEEN_LOOKS) void lookAgain();
      },
    },
    signal,
  );
  control.show(job);
  fill(after, whatNext(job));
  await look();
  show();
  return {
    title: called(job),
    content: [
      failed,
      state,
      control.place,
      progress,
      after,
      section("Cost", cost.place),
      section(isOfClasses ? "Accuracy" : "R²", quality.place),
      section("Settings", settings(job, network, dataset)),
      section("Checkpoints", saved.place),
      commands(get(path), historyOf(job.id), LIVE, ...commandsOf(job), saved.publication("NUMBER")).place,
    ],
  };
}

/** @param {Job} job */
function stateOf(job) {
  const words = [];
  if (job.state === "queued" && typeof job.queue_position === "number") words.push(job.queue_position === 0 ? "It is the next to run." : `${counted(job.queue_position, "job")} before it.`);
  if (job.blocked_by?.length) words.push(`It waits for ${counted(job.blocked_by.length, "other job")} to succeed.`);
  if (job.pausing) words.push("It is being saved, to be paused.");
  if (job.stopped) words.push(`It ended because ${STOPPED[job.stopped] ?? job.stopped}${job.best_epoch ? `; the best epoch was ${job.best_epoch}` : ""}.`);
  if (job.error) words.push(job.error.message);
  return element("p", { class: "state" }, badge(job.state), " ", words.join(" "));
}

/** @param {Job} job @param {History} history */
function progressOf(job, history) {
  const { last } = history;
  const isUnderway = job.state === "running";
  return element(
    "div",
    {},
    element("progress", { max: job.epochs, value: job.epoch, "aria-label": "Epochs done" }),
    facts([
      ["Epoch", `${whole(job.epoch)} of ${whole(job.epochs)}`],
      ["Cost", figure(job.cost)],
      ["Validation cost", last && last.validation_cost !== null && figure(last.validation_cost)],
      ["Accuracy", last && last.accuracy !== null && percent(last.accuracy)],
      ["Validation accuracy", last && last.validation_accuracy !== null && percent(last.validation_accuracy)],
      ["R²", last && last.r2 !== null && figure(last.r2)],
      ["Validation R²", last && last.validation_r2 !== null && figure(last.validation_r2)],
      ["Learning rate", last && last.learning_rate !== null && figure(last.learning_rate)],
      ["Trained for", duration(job.seconds_elapsed)],
      ["Still to go, about", isUnderway && duration(job.seconds_remaining)],
      ["Rows per second", last && last.rows_per_second !== null && whole(Math.round(last.rows_per_second))],
    ]),
  );
}

/** @param {Job} job */
function whatNext(job) {
  if (job.network_version === null) return null;
  return element(
    "p",
    { class: "row" },
    `Version ${job.network_version} of the network has what it learned:`,
    link(`#/networks/${job.network_id}?dataset=${job.dataset_id}`, "See how good it is"),
    link(`#/networks/${job.network_id}/predict`, "Predict with it"),
    element("a", { href: `v1/networks/${job.network_id}/versions/${job.network_version}/file`, download: true }, "Download the weights"),
  );
}

/** @param {Job} job @param {Network} network @param {Dataset} dataset */
function settings(job, network, dataset) {
  return facts([
    ["Id", job.id],
    ["Network", network ? link(`#/networks/${job.network_id}`, called(network)) : `${job.network_id}, deleted`],
    ["Dataset", dataset ? link(`#/datasets/${job.dataset_id}`, called(dataset)) : `${job.dataset_id}, deleted`],
    ["Optimizer", job.optimizer?.type],
    ["Schedule", Array.isArray(job.schedule) ? "stages" : job.schedule?.type],
    ["Rows of a mini-batch", whole(job.batch_size)],
    ["Validation", job.validation ? (job.validation.fraction ? `${percent(job.validation.fraction)} of the rows` : "another dataset") : "none"],
    ["Device", job.device ?? job.device_kind],
    ["Why there", job.device_reason],
    ["Seed", String(job.seed)],
    ["Priority", String(job.priority)],
    ["Started", `${moment(job.started_at)}${job.attempts > 1 ? `, ${job.attempts} times` : ""}`],
  ]);
}

/** It may have been deleted. @param {string} path @param {AbortSignal} signal */
function named(path, signal) {
  return read(path, signal).catch((error) => {
    if (signal.aborted) throw error;
    return null;
  });
}
