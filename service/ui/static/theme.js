// Let the person choose light or dark colours; without a choice, the system's setting holds.
// The choice is kept in localStorage, so that it is still there tomorrow. Nothing else is kept there.

const NAME = "sparsight-theme";
const THEMES = ["light", "dark"];

// select: its options are "" (as the system), "light" and "dark".
export function chooseTheme(select) {
  const stored = kept();
  select.value = THEMES.includes(stored) ? stored : "";
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    keep(select.value);
  });
}

function apply(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

// A browser may forbid storage; the choice then holds until the page is closed.
function kept() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    if (theme) localStorage.setItem(NAME, theme);
    else localStorage.removeItem(NAME);
  } catch { /* not kept */ }
}
