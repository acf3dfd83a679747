/** The checkpoints of a job: downloaded, or published as a version of its network. */

import { button, element, fill } from "./element.js";
import { alertPlace, showProblem } from "./forms.js";
import { address, ask, post, read } from "./request.js";
import { nothing, table } from "./tables.js";
import { duration, figure, moment, size, whole } from "./words.js";

/** @import { Checkpoint } from "./answers.js" */

/** @param {string} id of the job @param {AbortSignal} signal */
export function checkpoints(id, signal) {
  const path = `/v1/jobs/${id}/checkpoints`;
  const publication = (/** @type {number | string} */ number) => post(`${path}/${number}/publish`);
  const rows = element("div");
  const place = alertPlace();
  let shown = "";

  async function load() {
    const { data } = await read(path, signal);
    if (JSON.stringify(data) === shown) return;
    shown = JSON.stringify(data);
    fill(
      rows,
      data.length === 0
        ? nothing("None has been saved yet.")
        : table("Checkpoints", ["Number", "After epoch", "Cost", "Trained for", "Size", "Saved", ""], data.map(row)),
    );
  }

  /** @param {Checkpoint} one */
  function row(one) {
    return [
      String(one.number),
      whole(one.epoch),
      figure(one.cost),
      duration(one.seconds_elapsed),
      size(one.bytes),
      moment(one.created_at),
      [
        element("a", { href: address(`${path}/${one.number}`).href, download: true, "aria-label": `Download checkpoint ${one.number}` }, "Download"),
        " ",
        button("Publish", () => publish(one.number), { "aria-label": `Publish checkpoint ${one.number}` }),
      ],
    ];
  }

  /** @param {number} number */
  async function publish(number) {
    try {
      const version = await ask(publication(number));
      fill(place, element("p", { class: "good" }, `It is version ${version.version} of the network now.`));
    } catch (error) {
      showProblem(error, place);
    }
  }

  return { place: element("div", {}, place, rows), load, publication };
}
