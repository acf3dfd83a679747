/**
 * A guess at the target column of a CSV file, from its first lines, before it is uploaded. The API cannot list the
 * columns of a file without creating a dataset, so sniffDelimiter duplicates the service's delimiter rule.
 */

const SNIFFED_BYTES = 2 ** 16;
const MAX_SNIFFED_ROWS = 200;
const MAX_NUMERIC_CLASSES = 20;
const TARGET_NAMES = /^(label|class|target|species|digit|category|y)$/i;
const DELIMITERS = [",", ";", "\t", "|"];
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;

/**
 * @typedef {object} SniffResult
 * @property {string[]} columns names of the columns; none for a file that is not CSV or TSV
 * @property {string} target name of the likely target column; "" without a header
 * @property {"label" | "target"} role whether that column contains classes or numbers
 */

/** @param {File} file @returns {Promise<SniffResult>} */
export async function sniffCsv(file) {
  if (!/\.(csv|tsv)$/i.test(file.name)) return { columns: [], target: "", role: "label" };
  const text = await file.slice(0, SNIFFED_BYTES).text();
  const delimiter = /\.tsv$/i.test(file.name) ? "\t" : sniffDelimiter(text);
  const [header = [], ...rows] = parseRows(text, delimiter, MAX_SNIFFED_ROWS + 1);
  if (file.size > SNIFFED_BYTES) rows.pop();
  const columns = header.map((name) => name.trim());
  // The service treats a first line with a number as data, and names the columns like this.
  if (columns.some((name) => NUMBER.test(name)))
    return { columns: columns.map((_, index) => `column_${index + 1}`), target: "", role: "label" };
  const target = columns.find((name) => TARGET_NAMES.test(name)) ?? columns[columns.length - 1] ?? "";
  const values = rows.map((row) => row[columns.indexOf(target)] ?? "");
  return { columns, target, role: containsClasses(values) ? "label" : "target" };
}

/** Return the most frequent delimiter of the first line, outside of quoted cells. @param {string} text */
function sniffDelimiter(text) {
  const unquoted = text.replace(/(?<=^|[,;\t|\r\n])"(?:[^"]|"")*"?/g, "");
  const [line = ""] = unquoted.trimStart().split(/[\r\n]/);
  const count = (/** @type {string} */ delimiter) => line.split(delimiter).length;
  return DELIMITERS.reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

/**
 * Parse cells row by row, skipping empty lines. A quotation mark quotes a cell only at its start; others are text.
 * @param {string} text @param {string} delimiter @param {number} maxRows
 */
function parseRows(text, delimiter, maxRows) {
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"?)?([^\\r\\n${delimiter}]*)([${delimiter}]|\\r\\n|[\\r\\n]|$)`, "y");
  /** @type {string[][]} */
  const rows = [];
  let row = [];
  while (cell.lastIndex < text.length && rows.length < maxRows) {
    const [match = "", quoted, plain = "", end = ""] = cell.exec(text) ?? [];
    row.push((quoted?.replaceAll('""', '"') ?? "") + plain);
    if (end === delimiter && cell.lastIndex < text.length) continue;
    if (row.length > 1 || row[0] || quoted !== undefined) rows.push(row);
    row = [];
    if (!match) break;
  }
  return rows;
}

/** Return whether values are classes: texts, or few distinct integers. @param {string[]} values */
function containsClasses(values) {
  const numbers = values.filter((value) => value.trim() !== "" && Number.isFinite(Number(value)));
  if (numbers.length < values.length / 2) return true;
  return new Set(values).size <= MAX_NUMERIC_CLASSES && numbers.every((value) => Number.isInteger(Number(value)));
}
