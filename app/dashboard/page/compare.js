/** Several jobs beside each other, as they train. */

import { commands } from "./curl.js";
import { MEASURES, curves } from "./curves.js";
import { element, fill, link } from "./element.js";
import { field, select } from "./forms.js";
import { History, historyOf } from "./history.js";
import { follow, oneAtATime } from "./live.js";
import { read } from "./request.js";
import { badge, table } from "./tables.js";
import { called, duration, figure, percent, whole } from "./words.js";

/** @import { Job } from "./answers.js" */

/** @type {import("./main.js").Screen} */
export async function compareScreen({ parts: [listed = ""], signal }) {
  const ids = listed.split("+");
  /** @type {any[]} */
  let jobs = await Promise.all(ids.map((id) => read(`/v1/jobs/${encodeURIComponent(id)}`, signal)));
  const histories = new Map(jobs.map((job) => [job.id, new History()]));
  const rows = element("div");
  const measure = select("measure", Object.entries(MEASURES), "cost");
  const shown = () => jobs.map((job) => ({ name: called(job), history: histories.get(job.id) ?? new History() }));
  const { place, draw } = curves(() => measure.value, shown, signal, true);

  const show = () => {
    fill(rows, comparison(jobs, histories));
    draw();
  };
  const load = async () => {
    jobs = await Promise.all(jobs.map((job) => read(`/v1/jobs/${job.id}`, signal)));
    for (const job of jobs) histories.get(job.id)?.set((await read(historyOf(job.id).path, signal)).data);
    show();
  };
  const refresh = oneAtATime(load, () => {});
  await load();
  measure.addEventListener("change", draw);
  follow(
    {
      opened: () => void refresh(),
      state: (one) => histories.has(one.id) && void refresh(),
      epoch: (one) => {
        const history = histories.get(one.job_id);
        if (!history) return;
        history.add(one);
        jobs = jobs.map((job) => (job.id === one.job_id ? { ...job, epoch: one.epoch, cost: one.cost } : job));
        show();
      },
    },
    signal,
  );
  return {
    title: "Jobs compared",
    content: [field("Measure", measure), place, rows, commands(...jobs.map((job) => historyOf(job.id))).place],
  };
}

/** @param {Job[]} jobs @param {Map<string, History>} histories */
function comparison(jobs, histories) {
  return table(
    "Jobs compared",
    ["Job", "State", "Epoch", "Cost", "Validation cost", "Validation accuracy", "Validation R²", "Optimizer", "Rate", "Mini-batch", "Trained for"],
    jobs.map((job) => {
      const last = histories.get(job.id)?.last;
      return [
        link(`#/jobs/${job.id}`, called(job)),
        badge(job.state),
        `${whole(job.epoch)} of ${whole(job.epochs)}`,
        figure(job.cost),
        figure(last?.validation_cost),
        percent(last?.validation_accuracy),
        figure(last?.validation_r2),
        job.optimizer?.type,
        figure(job.learning_rate),
        whole(job.batch_size),
        duration(job.seconds_elapsed),
      ];
    }),
  );
}
