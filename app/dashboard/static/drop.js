/**
 * Files that are dropped: anywhere on a place for them the file field in it takes one. Elsewhere nothing happens, where a
 * browser would leave the page to show the file.
 */

/** @param {DragEvent} event @returns {HTMLInputElement | null} the field that takes it */
function taker(event) {
  const place = event.target instanceof Element ? event.target.closest(".drop") : null;
  return place?.querySelector("input") ?? null;
}

/** A file field takes a file by itself. Text may be dropped into other fields. @param {DragEvent} event */
function isOurs(event) {
  const isTaken = event.target instanceof HTMLInputElement && event.target.type === "file";
  return !isTaken && event.dataTransfer?.types.includes("Files");
}

document.addEventListener("dragover", (event) => {
  if (!isOurs(event)) return;
  event.preventDefault();
  if (event.dataTransfer) event.dataTransfer.dropEffect = taker(event) ? "copy" : "none";
});

document.addEventListener("drop", (event) => {
  if (!isOurs(event)) return;
  event.preventDefault();
  const field = taker(event);
  const [file] = event.dataTransfer?.files ?? [];
  if (!field || !file) return;
  const taken = new DataTransfer();
  taken.items.add(file);
  field.files = taken.files;
  for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
});
