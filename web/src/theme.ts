// Dark or light: as the machine is set, until the reader says otherwise.

const KEY = "geosearch-theme";
type Theme = "dark" | "light";

export function applyTheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const chosen = localStorage.getItem(KEY) as Theme | null;
  document.documentElement.dataset.theme = chosen ?? (dark ? "dark" : "light");
}

export function toggleTheme(): void {
  const now = document.documentElement.dataset.theme;
  localStorage.setItem(KEY, now === "dark" ? "light" : "dark");
  applyTheme();
}
