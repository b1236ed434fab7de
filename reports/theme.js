// --- light, dark, or as the system has it ------------------------------------------------------------------------

function theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const order = () => (system.matches ? ["", "light", "dark"] : ["", "dark", "light"]);
  const show = () => { $("theme").textContent = `Theme: ${root.dataset.theme || "auto"}`; };
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    const next = order()[(order().indexOf(root.dataset.theme || "") + 1) % 3];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    try { localStorage.setItem("bench-theme", next); } catch { /* a viewer without storage */ }
    show();
  });
  show();
}
