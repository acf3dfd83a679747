/** The part of a file that is enough to preview it. */

const MAX_TEXT_BYTES = 2 ** 20;
/** Formats of which the beginning alone cannot be read. */
const MAX_WHOLE_BYTES = 2 ** 24;
const SNIFFED_BYTES = 1024;
const NEWLINE = 10;
const TAB = 9;

/**
 * Return the first lines of a text, and other files whole; null if that is too much to preview.
 * @param {File} file @returns {Promise<File | null>} the file itself if it is whole
 */
export async function takeBeginning(file) {
  if (file.size <= MAX_TEXT_BYTES) return file;
  const bytes = new Uint8Array(await file.slice(0, MAX_TEXT_BYTES).arrayBuffer());
  if (!hasLines(file, bytes)) return file.size <= MAX_WHOLE_BYTES ? file : null;
  const end = findLastLineEnd(bytes);
  return end === 0 ? null : new File([bytes.slice(0, end)], file.name, { type: file.type });
}

/** Return whether a file is a text of lines. A JSON array is not. @param {File} file @param {Uint8Array} bytes */
function hasLines(file, bytes) {
  const start = bytes.subarray(0, SNIFFED_BYTES);
  if (/\.json$/i.test(file.name) || new TextDecoder().decode(start).trimStart().startsWith("[")) return false;
  // Formats that are no text, and compressed files, have control characters at their beginning.
  return isUtf16(bytes) || start.every((byte) => byte >= TAB);
}

/** @param {Uint8Array} bytes */
function findLastLineEnd(bytes) {
  if (!isUtf16(bytes)) return bytes.lastIndexOf(NEWLINE) + 1;
  const units = new DataView(bytes.buffer);
  const isLittleEndian = bytes[0] === 0xff;
  let end = bytes.length - (bytes.length % 2);
  while (end > 0 && units.getUint16(end - 2, isLittleEndian) !== NEWLINE) end -= 2;
  return end;
}

/** Return whether a text begins with the byte order mark of UTF-16. @param {Uint8Array} bytes */
function isUtf16([first, second]) {
  return (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
}
