(() => {
  const root = document.documentElement;
  let kept = null;
  try { kept = localStorage.getItem("cytobench-theme"); } catch { /* pages from a file may have no storage */ }
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("cytobench-theme", root.dataset.theme); } catch { /* as above */ }
  });
})();
