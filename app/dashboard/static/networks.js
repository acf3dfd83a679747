/** All networks. */

import { shape } from "./architecture.js";
import { commands } from "./curl.js";
import { element, link } from "./element.js";
import { list } from "./lists.js";
import { get } from "./request.js";
import { nothing } from "./tables.js";
import { called, moment, whole } from "./words.js";

/** @type {import("./main.js").Screen} */
export async function networksScreen({ signal }) {
  const { place, load } = list({
    path: "/v1/networks",
    caption: "Networks",
    head: ["Name", "Layers", "Parameters", "Cost", "Version", "Created"],
    row: (one) => [
      link(`#/networks/${one.id}`, called(one)),
      shape(one),
      whole(one.parameters),
      one.cost,
      one.version === 0 ? "0, not trained" : one.version,
      moment(one.created_at),
    ],
    empty: nothing("There is no network yet."),
    signal,
  });
  await load();
  return {
    title: "Networks",
    content: [
      element("p", { class: "row" }, link("#/networks/new", "Create a network")),
      place,
      commands(get("/v1/networks")).place,
    ],
  };
}
