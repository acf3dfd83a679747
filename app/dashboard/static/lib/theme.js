// A classic script in the head, not a module: it applies the theme before the first paint, so that nothing flashes.
(() => {
  const root = document.documentElement;
  const applyTheme = (/** @type {string} */ theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  applyTheme(localStorage.getItem("theme") ?? "");
  addEventListener("DOMContentLoaded", () => {
    const select = /** @type {HTMLSelectElement} */ (document.getElementById("theme"));
    select.value = localStorage.getItem("theme") ?? "";
    select.addEventListener("change", () => {
      localStorage.setItem("theme", select.value);
      applyTheme(select.value);
      dispatchEvent(new Event("themechange"));
    });
  });
  const systemTheme = matchMedia("(prefers-color-scheme: dark)");
  systemTheme.addEventListener("change", () => dispatchEvent(new Event("themechange")));
})();
