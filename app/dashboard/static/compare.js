/** Several jobs beside each other, as they train. */

import { commands } from "./curl.js";
import { MEASURES, curves } from "./curves.js";
import { element, fill, link } from "./element.js";
import { alertPlace, field, select } from "./forms.js";
import { History, historyOf, latest } from "./history.js";
import { follow, oneAtATime } from "./live.js";
import { read } from "./request.js";
import { badge, table } from "./tables.js";
import { called, duration, figure, percent, whole } from "./words.js";

/** @import { Epoch, Job } from "./answers.js" */

/** @typedef {import("./element.js").Child} Child */

/** What is compared, of a job and its last epoch. @type {[string, (job: Job, last: Epoch | undefined) => Child][]} */
const COLUMNS = [
  ["State", (job) => badge(job.state)],
  ["Epoch", (job) => `${whole(job.epoch)} of ${whole(job.epochs)}`],
  ["Cost", (job) => figure(job.cost)],
  ["Validation cost", (_, last) => figure(last?.validation_cost)],
  ["Validation accuracy", (_, last) => percent(last?.validation_accuracy)],
  ["Validation R²", (_, last) => figure(last?.validation_r2)],
  ["Optimizer", (job) => job.optimizer?.type],
  ["Rate", (job) => figure(job.learning_rate)],
  ["Mini-batch", (job) => whole(job.batch_size)],
  ["Trained for", (job) => duration(job.seconds_elapsed)],
];

/** @type {import("./main.js").Screen} */
export async function compareScreen({ parts: [listed = ""], signal }) {
  const ids = listed.split("+");
  /** @type {Job[]} */
  const first = await Promise.all(ids.map((id) => read(`/v1/jobs/${encodeURIComponent(id)}`, signal)));
  const jobs = new Map(first.map((job) => [job.id, { job, history: new History(), cells: COLUMNS.map(() => element("span")) }]));
  const all = [...jobs.values()];
  const failed = alertPlace();
  const measure = select("measure", Object.entries(MEASURES), "cost");
  const shown = () => all.map(({ job, history }) => ({ name: called(job), history }));
  const { place, draw } = curves(() => measure.value, shown, signal, true);

  /** In the cells that there are, so that what one is about to press stays where it is. */
  const show = () => {
    for (const { job, history, cells } of all) COLUMNS.forEach(([, value], at) => fill(/** @type {Element} */ (cells[at]), value(job, history.last)));
    draw();
  };
  const load = async () => {
    for (const one of all) {
      one.job = await read(`/v1/jobs/${one.job.id}`, signal);
      await one.history.catchUp(one.job, signal);
    }
    show();
  };
  const refresh = oneAtATime(load, failed, signal);
  await load();
  measure.addEventListener("change", draw);
  follow(
    {
      opened: () => void refresh(),
      state: (one) => jobs.has(one.id) && void refresh(),
      epoch: (epoch) => {
        const one = jobs.get(epoch.job_id);
        if (!one) return;
        one.history.add(epoch);
        one.job = { ...one.job, ...latest(one.job, epoch) };
        show();
      },
    },
    signal,
  );
  const head = ["Job", ...COLUMNS.map(([name]) => name)];
  const rows = all.map(({ job, cells }) => [link(`#/jobs/${job.id}`, called(job)), ...cells]);
  return {
    title: "Jobs compared",
    content: [field("Measure", measure), place, failed, table("Jobs compared", head, rows), commands(...all.map(({ job }) => historyOf(job.id))).place],
  };
}
