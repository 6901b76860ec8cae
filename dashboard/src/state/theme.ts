// Light, dark, or as the system says; remembered in this browser.

import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";
const KEY = "theme";
const ORDER: readonly Theme[] = ["system", "light", "dark"];

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(() => {
    const stored = document.documentElement.dataset["theme"];
    return stored === "light" || stored === "dark" ? stored : "system";
  });
  const next = () => {
    const following = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length] as Theme;
    if (following === "system") {
      delete document.documentElement.dataset["theme"];
      localStorage.removeItem(KEY);
    } else {
      document.documentElement.dataset["theme"] = following;
      localStorage.setItem(KEY, following);
    }
    setTheme(following);
    dispatchEvent(new Event("themechange"));
  };
  return [theme, next];
}

/** A value that differs after each change of colours, whoever made it. */
export function useColors(): number {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const bump = () => setVersion((before) => before + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", bump);
    addEventListener("themechange", bump);
    return () => {
      system.removeEventListener("change", bump);
      removeEventListener("themechange", bump);
    };
  }, []);
  return version;
}
