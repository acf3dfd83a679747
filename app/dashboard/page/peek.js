/** A look at the beginning of a file of text, to propose what is to be learned. The service reads it properly. */

const BYTES = 2 ** 16;
const ROWS = 200;
const LIKELY = /^(label|class|target|species|digit|category|y)$/i;

/**
 * @typedef {object} Peek
 * @property {string[]} names of the columns; none if they cannot be known here
 * @property {string} answer the column that is most likely to be learned
 * @property {"label" | "target"} role whether it holds classes or numbers
 */

/** @param {File} file @returns {Promise<Peek>} */
export async function peek(file) {
  const separator = /\.csv$/i.test(file.name) ? "," : /\.tsv$/i.test(file.name) ? "\t" : null;
  if (separator === null) return { names: [], answer: "", role: "label" };
  const lines = (await file.slice(0, BYTES).text()).split(/\r?\n/);
  if (file.size > BYTES) lines.pop();
  const names = cells(lines[0] ?? "", separator);
  const rows = lines.slice(1, ROWS).filter(Boolean).map((line) => cells(line, separator));
  const answer = names.find((name) => LIKELY.test(name)) ?? names[names.length - 1] ?? "";
  const values = rows.map((row) => row[names.indexOf(answer)] ?? "");
  return { names, answer, role: areClasses(values) ? "label" : "target" };
}

/** Few different ones, and whole numbers if they are numbers. @param {string[]} values */
function areClasses(values) {
  const numbers = values.filter((value) => value.trim() !== "" && Number.isFinite(Number(value)));
  if (numbers.length < values.length / 2) return true;
  return new Set(values).size <= 20 && numbers.every((value) => Number.isInteger(Number(value)));
}

/** @param {string} line @param {string} separator */
function cells(line, separator) {
  const found = line.matchAll(new RegExp(`(?:^|${separator})(?:"((?:[^"]|"")*)"|([^${separator}]*))`, "g"));
  return [...found].map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain ?? "").trim());
}
