/** A look at the beginning of a file of text, to propose what is to be learned. The service reads it properly. */

const BYTES = 2 ** 16;
const ROWS = 200;
const LIKELY = /^(label|class|target|species|digit|category|y)$/i;
const DELIMITERS = [",", ";", "\t", "|"];
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;

/**
 * @typedef {object} Peek
 * @property {string[]} names of the columns; none if they cannot be known here
 * @property {string} answer the column that is most likely to be learned; "" where nothing tells
 * @property {"label" | "target"} role whether it holds classes or numbers
 */

/** @param {File} file @returns {Promise<Peek>} */
export async function peek(file) {
  if (!/\.(csv|tsv)$/i.test(file.name)) return { names: [], answer: "", role: "label" };
  const text = await file.slice(0, BYTES).text();
  const delimiter = /\.tsv$/i.test(file.name) ? "\t" : delimiterOf(text);
  const [first = [], ...rows] = rowsOf(text, delimiter, ROWS + 1);
  if (file.size > BYTES) rows.pop();
  const names = first.map((name) => name.trim());
  // The service takes such a line for a row, and calls the columns so.
  if (names.some((name) => NUMBER.test(name))) return { names: names.map((_, place) => `column_${place + 1}`), answer: "", role: "label" };
  const answer = names.find((name) => LIKELY.test(name)) ?? names[names.length - 1] ?? "";
  const values = rows.map((row) => row[names.indexOf(answer)] ?? "");
  return { names, answer, role: areClasses(values) ? "label" : "target" };
}

/** That of which there are most in the first line outside of quotation marks, as the service chooses. @param {string} text */
function delimiterOf(text) {
  const [line = ""] = text.replace(/(?<=^|[,;\t|\r\n])"(?:[^"]|"")*"?/g, "").trimStart().split(/[\r\n]/);
  const count = (/** @type {string} */ delimiter) => line.split(delimiter).length;
  return DELIMITERS.reduce((best, one) => (count(one) > count(best) ? one : best));
}

/**
 * Cells, row by row; empty lines are none. A quotation mark that begins a cell opens it; any other is a character.
 * @param {string} text @param {string} delimiter @param {number} most
 */
function rowsOf(text, delimiter, most) {
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"?)?([^\\r\\n${delimiter}]*)([${delimiter}]|\\r\\n|[\\r\\n]|$)`, "y");
  /** @type {string[][]} */
  const rows = [];
  let row = [];
  while (cell.lastIndex < text.length && rows.length < most) {
    const [found = "", quoted, plain = "", end = ""] = cell.exec(text) ?? [];
    row.push((quoted?.replaceAll('""', '"') ?? "") + plain);
    if (end === delimiter && cell.lastIndex < text.length) continue;
    if (row.length > 1 || row[0] || quoted !== undefined) rows.push(row);
    row = [];
    if (!found) break;
  }
  return rows;
}

/** Few different ones, and whole numbers if they are numbers. @param {string[]} values */
function areClasses(values) {
  const numbers = values.filter((value) => value.trim() !== "" && Number.isFinite(Number(value)));
  if (numbers.length < values.length / 2) return true;
  return new Set(values).size <= 20 && numbers.every((value) => Number.isInteger(Number(value)));
}
