try {
  const theme = localStorage.getItem("bench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* a viewer without storage */ }
