// Before anything is drawn, so that nothing flashes: the theme that was chosen, or else that of the system.
(() => {
  const root = document.documentElement;
  const show = (/** @type {string} */ theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  show(localStorage.getItem("theme") ?? "");
  addEventListener("DOMContentLoaded", () => {
    const choice = /** @type {HTMLSelectElement} */ (document.getElementById("theme"));
    choice.value = localStorage.getItem("theme") ?? "";
    choice.addEventListener("change", () => {
      localStorage.setItem("theme", choice.value);
      show(choice.value);
      dispatchEvent(new Event("theme"));
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("theme")));
})();
