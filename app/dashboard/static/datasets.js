/** All datasets, and a form that makes one of a file. */

import { commands } from "./curl.js";
import { element, fill, link } from "./element.js";
import { Values, alertPlace, field, group, input, more, onSubmit, select } from "./forms.js";
import { list } from "./lists.js";
import { peek } from "./peek.js";
import { get } from "./request.js";
import { badge, nothing, section } from "./tables.js";
import { sending } from "./upload.js";
import { called, moment, size, whole } from "./words.js";

/** @import { Dataset } from "./answers.js" */

/** @typedef {import("./request.js").Asked} Asked */

const ARRAYS = ["inputs", "labels", "targets", "weights"];
const OPTIONS = ["name", "imputation", "features", "weight", "format"];

/** @type {import("./main.js").Screen} */
export async function datasetsScreen({ signal }) {
  const { place, load } = list({
    path: "/v1/datasets",
    caption: "Datasets",
    head: ["Name", "State", "Rows", "Inputs", "To learn", "Size", "Created"],
    row: (one) => [
      link(`#/datasets/${one.id}`, called(one)),
      badge(one.state),
      whole(one.rows),
      whole(one.inputs),
      learned(one),
      size(one.bytes),
      moment(one.created_at),
    ],
    empty: nothing("There is no dataset yet. Drop a file above: a table, such as a CSV, needs no preprocessing."),
    signal,
  });
  await load();
  return {
    title: "Datasets",
    content: [section("New dataset", form(signal)), section("All datasets", place, commands(get("/v1/datasets")).place)],
  };
}

/** What a dataset has to teach, in words. @param {Dataset} dataset */
export function learned(dataset) {
  if (dataset.unlabeled) return "nothing: rows to be predicted";
  if (dataset.classes) return `${dataset.classes.length} classes`;
  if (dataset.targets) return dataset.targets === 1 ? "a number" : `${dataset.targets} numbers`;
  return "–";
}

/** @param {AbortSignal} signal */
function form(signal) {
  const file = input("file", "file", { required: true });
  const role = select("role", [
    ["label", "a class, one of a few"],
    ["target", "numbers"],
    ["unlabeled", "nothing: to be predicted"],
  ]);
  const answer = input("answer", "text", { list: "columns" });
  const names = element("datalist", { id: "columns" });
  const seen = element("p", { role: "status", class: "quiet" });
  const sent = sending();
  const place = alertPlace();
  const made = element(
    "form",
    { "aria-label": "New dataset" },
    element("div", { class: "drop" }, field("Drop a file here, or choose one", file, "CSV, TSV, Parquet, Arrow, NDJSON, JSON, .npz; CSV also packed with gzip.")),
    seen,
    element(
      "div",
      { class: "fields" },
      field("What is to be learned", role),
      field("In the column", answer, "Several with commas between them, if they are numbers. Files of arrays (.npz) need none."),
      field("Name", input("name", "text", { placeholder: "that of the file" })),
      field("Where a value is missing", select("imputation", [["", "refuse the file"], "mean", "median", "most_frequent"])),
      names,
    ),
    more(
      "More",
      element(
        "div",
        { class: "fields" },
        field("Learn from these columns only", input("features", "text"), "Names, with commas between them; otherwise all others."),
        field("Column of weights", input("weight", "text"), "How much each row counts."),
        field("Format", select("format", [["", "find out"], "csv", "tsv", "parquet", "arrow", "ndjson", "json", "npz", "npy", "idx"])),
      ),
      group("Or arrays in files of their own: .npy, or IDX as MNIST has", ...ARRAYS.map((name) => field(name, input(name, "file")))),
    ),
    place,
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Create dataset")),
    sent.place,
  );
  /** @type {string[]} */
  let columns = [];
  const shown = commands(asked(made, columns));
  const update = () => {
    const arrays = ARRAYS.some((name) => fileOf(made, name));
    file.required = !arrays;
    answer.disabled = arrays || role.value === "unlabeled";
    shown.show(asked(made, columns));
  };
  file.addEventListener("change", async () => {
    const [chosen] = file.files ?? [];
    if (!chosen) return;
    const found = await peek(chosen);
    if (file.files?.[0] !== chosen) return;
    columns = found.names;
    fill(names, found.names.map((value) => element("option", { value })));
    answer.value = found.answer;
    role.value = found.role;
    fill(seen, found.names.length ? `${chosen.name}: ${found.names.length} columns. Say which one is to be learned.` : "");
    update();
  });
  made.addEventListener("input", update);
  onSubmit(made, place, async () => {
    const dataset = await sent.send(asked(made, columns), signal);
    if (!signal.aborted) location.hash = `#/datasets/${dataset.id}`;
  });
  update();
  return element("div", {}, made, shown.place);
}

/** @param {HTMLFormElement} form @param {string[]} names that columns have @returns {Asked} */
function asked(form, names) {
  const values = new Values(form);
  /** @type {[string, string | File][]} */
  const fields = [];
  const arrays = ARRAYS.filter((name) => fileOf(form, name));
  for (const name of arrays.length ? arrays : ["file"]) fields.push([name, fileOf(form, name) ?? new File([], "FILE.csv")]);
  const role = values.text("role");
  if (role === "unlabeled") fields.push(["unlabeled", "true"]);
  else if (arrays.length === 0 && values.text("answer")) fields.push([role, role === "label" ? values.text("answer") : listed(values.text("answer"), names)]);
  for (const name of OPTIONS) {
    const text = values.text(name);
    if (text) fields.push([name, name === "features" ? listed(text, names) : text]);
  }
  return { method: "POST", path: "/v1/datasets", form: fields };
}

/** Several names go as JSON, so that they may hold anything. @param {string} text @param {string[]} names that columns have */
function listed(text, names) {
  if (!/[,"[]/.test(text)) return text;
  return JSON.stringify(names.includes(text) ? [text] : text.split(",").map((name) => name.trim()));
}

/** @param {HTMLFormElement} form @param {string} name */
function fileOf(form, name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).files?.[0];
}

