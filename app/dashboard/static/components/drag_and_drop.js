/**
 * Drag and drop: a file dropped on a drop zone goes to its file input. Elsewhere a drop does nothing, whereas browsers
 * would leave the page and open the file.
 */

/** @param {DragEvent} event @returns {HTMLInputElement | null} */
function findFileInput(event) {
  const zone = event.target instanceof Element ? event.target.closest(".drop-zone") : null;
  return zone?.querySelector("input") ?? null;
}

/** A file input handles a dropped file itself; text may be dropped into other fields. @param {DragEvent} event */
function isFileDrag(event) {
  const isFileInput = event.target instanceof HTMLInputElement && event.target.type === "file";
  return !isFileInput && event.dataTransfer?.types.includes("Files");
}

document.addEventListener("dragover", (event) => {
  if (!isFileDrag(event)) return;
  event.preventDefault();
  if (event.dataTransfer) event.dataTransfer.dropEffect = findFileInput(event) ? "copy" : "none";
});

document.addEventListener("drop", (event) => {
  if (!isFileDrag(event)) return;
  event.preventDefault();
  const input = findFileInput(event);
  const [file] = event.dataTransfer?.files ?? [];
  if (!input || !file) return;
  const transfer = new DataTransfer();
  transfer.items.add(file);
  input.files = transfer.files;
  for (const type of ["input", "change"]) input.dispatchEvent(new Event(type, { bubbles: true }));
});
