/** All jobs, newest first, as they go on. */

import { commands } from "./curl.js";
import { button, element, fill, link } from "./element.js";
import { alertPlace } from "./forms.js";
import { list } from "./lists.js";
import { LIVE, follow, oneAtATime } from "./live.js";
import { get } from "./request.js";
import { badge, nothing } from "./tables.js";
import { called, figure, moment, whole } from "./words.js";

/** @import { Job } from "./answers.js" */

const MOST_COMPARED = 8;

/** @type {import("./main.js").Screen} */
export async function jobsScreen({ signal }) {
  /** @type {Set<string>} */
  const chosen = new Set();
  /** @type {Map<string, {epochs: number, epoch: Element, cost: Element}>} */
  const cells = new Map();
  const compare = element("p", { class: "row" });

  const { place, load } = list({
    path: "/v1/jobs",
    caption: "Jobs",
    head: ["Name", "State", "Epoch", "Cost", "Optimizer", "Rate", "Created", "Compare"],
    row: (job) => {
      const live = { epochs: job.epochs, epoch: element("span", {}, reached(job)), cost: element("span", {}, figure(job.cost)) };
      cells.set(job.id, live);
      return [
        link(`#/jobs/${job.id}`, called(job)),
        badge(job.state),
        live.epoch,
        live.cost,
        job.optimizer?.type,
        figure(job.learning_rate),
        moment(job.created_at),
        choice(job),
      ];
    },
    empty: nothing("There is no job yet.", ["#/jobs/new", "Start one"]),
    signal,
  });

  /** @param {Job} job */
  function choice(job) {
    const box = element("input", { type: "checkbox", "aria-label": `Compare ${called(job)}`, checked: chosen.has(job.id) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(job.id);
      else chosen.delete(job.id);
      showCompare();
    });
    return box;
  }

  function showCompare() {
    const ids = [...chosen].slice(0, MOST_COMPARED);
    fill(
      compare,
      link("#/jobs/new", "Start a job"),
      button("Compare the curves of those chosen", () => (location.hash = `#/compare/${ids.join("+")}`), { disabled: ids.length < 2 }),
      chosen.size > MOST_COMPARED && `The first ${MOST_COMPARED} are compared.`,
    );
  }

  const failed = alertPlace();
  const refresh = oneAtATime(load, failed, signal);
  await load();
  showCompare();
  follow(
    {
      opened: () => void refresh(),
      state: () => void refresh(),
      epoch: (one) => {
        const live = cells.get(one.job_id);
        if (!live) return;
        fill(live.epoch, reached({ ...one, epochs: live.epochs }));
        fill(live.cost, figure(one.cost));
      },
    },
    signal,
  );
  return { title: "Jobs", content: [compare, failed, place, commands(get("/v1/jobs"), LIVE).place] };
}

/** @param {{epoch: number, epochs: number}} job */
function reached({ epoch, epochs }) {
  return `${whole(epoch)} of ${whole(epochs)}`;
}
