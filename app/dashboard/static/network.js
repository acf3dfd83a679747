/** One network: its layers, its versions, and how good it is. */

import { shape } from "./architecture.js";
import { include, labeled } from "./choices.js";
import { commands } from "./curl.js";
import { button, element, link } from "./element.js";
import { evaluation } from "./evaluation.js";
import { alertPlace, showProblem } from "./forms.js";
import { Problem, address, ask, get, read } from "./request.js";
import { facts, nothing, section, table } from "./tables.js";
import { called, moment, whole } from "./words.js";

/** @import { Network, Ready, Version, Versions } from "./answers.js" */

const FORMATS = ["safetensors", "npz", "onnx"];

/** @type {import("./main.js").Screen} */
export async function networkScreen({ parts: [id = ""], query, signal }) {
  const path = `/v1/networks/${encodeURIComponent(id)}`;
  /** @type {[Network, Versions]} */
  const [network, versions] = await Promise.all([read(path, signal), read(`${path}/versions?limit=50`, signal)]);
  const remove = { method: "DELETE", path };
  const place = alertPlace();
  const isTrained = network.version > 0 || versions.data.some((one) => one.origin !== "drawn");
  const dataset = query.get("dataset") ?? (await learnedFrom(versions.data, network.version, signal));
  const datasets = isTrained ? await fitting(network, dataset, signal) : [];
  return {
    title: called(network),
    content: [
      element(
        "p",
        { class: "row" },
        link(`#/jobs/new?network=${network.id}${dataset ? `&dataset=${dataset}` : ""}`, "Train it"),
        isTrained && link(`#/networks/${network.id}/predict`, "Predict with it"),
        button("Delete", async () => {
          if (!confirm("Delete this network for good, with all its versions?")) return;
          try {
            await ask(remove);
            location.hash = "#/networks";
          } catch (error) {
            showProblem(error, place);
          }
        }),
      ),
      place,
      facts([
        ["Id", network.id],
        ["Layers", shape(network)],
        ["Parameters", whole(network.parameters)],
        ["Cost", network.cost],
        ["Preparation", prepared(network.preprocessing)],
        ["Start", `${network.initializer}, seed ${network.seed}, ${network.dtype}`],
        ["Created", moment(network.created_at)],
      ]),
      section("How good it is", isTrained ? evaluation(network, datasets, dataset, signal) : nothing("It has not been trained yet.", [`#/jobs/new?network=${network.id}`, "Train it"])),
      section("Versions and their weights", versionsOf(network, versions)),
      section("Layers", layersOf(network)),
      commands(get(path), get(`${path}/versions`), get(`${path}/versions/${network.version}/file`), remove).place,
    ],
  };
}

/** Datasets that it can be measured on. @param {Network} network @param {string} id one that is asked for, which may have been deleted @param {AbortSignal} signal */
async function fitting(network, id, signal) {
  const fits = (/** @type {Ready} */ one) => one.inputs === network.inputs;
  const found = await labeled(signal, fits);
  await include(found, "/v1/datasets", id, signal).catch((error) => {
    if (!(error instanceof Problem && error.status === 404)) throw error;
  });
  return found.filter((one) => one.state === "ready" && !one.unlabeled && fits(one));
}

/** The dataset that a version was trained on, if that is still known. @param {Version[]} versions @param {number} number @param {AbortSignal} signal */
export async function learnedFrom(versions, number, signal) {
  const version = versions.find((one) => one.version === number);
  if (!version?.job_id) return "";
  return read(`/v1/jobs/${version.job_id}`, signal).then(
    (job) => job.dataset_id,
    () => "",
  );
}

/** @param {Network["preprocessing"]} preprocessing */
function prepared(preprocessing) {
  const words = [];
  if (preprocessing.inputs !== "none") words.push(`inputs ${preprocessing.inputs}`);
  if (preprocessing.targets !== "none") words.push(`targets ${preprocessing.targets}`);
  return words.join(", ") || "none";
}

/** @param {Network} network */
function layersOf(network) {
  return table(
    "Layers",
    ["Layer", "Units", "Activation", "Dropout", "Batch normalization"],
    network.layers.map((layer, place) => [
      place === network.layers.length - 1 ? "output" : `hidden ${place + 1}`,
      whole(layer.units),
      layer.activation,
      layer.dropout || "–",
      layer.batch_norm ? "yes" : "–",
    ]),
  );
}

/** @param {Network} network @param {Versions} versions */
function versionsOf(network, versions) {
  const file = (/** @type {number} */ version, /** @type {string} */ format) => address(`/v1/networks/${network.id}/versions/${version}/file?format=${format}`).href;
  return table(
    "Versions",
    ["Version", "Tags", "Comes from", "Created", "Download the weights"],
    versions.data.map((one) => [
      one.current ? `${one.version}, current` : String(one.version),
      one.tags.join(", ") || "–",
      origin(one),
      moment(one.created_at),
      FORMATS.flatMap((format) => [element("a", { href: file(one.version, format), download: true, "aria-label": `Version ${one.version} as ${format}` }, format), " "]),
    ]),
  );
}

/** @param {Version} version */
function origin(version) {
  if (version.job_id) return link(`#/jobs/${version.job_id}`, "a job");
  if (version.imported) return `a file (${version.imported})`;
  return version.cloned_from ? "another network" : "its seed";
}
