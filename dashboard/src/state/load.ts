// Loads one address at a time: what is superseded is aborted, the old value stays until the new is there.

import { useEffect, useState } from "preact/hooks";

import { getJson, isAbort } from "../api/client";

export interface Loaded<T> {
  /** The newest that came, also while the next is on its way. */
  value: T | null;
  error: unknown;
  pending: boolean;
  retry(): void;
}

interface Outcome<T> {
  value: T | null;
  error: unknown;
  /** What it answers; another address or refresh makes it stale. */
  key: string;
}

/** `null` loads nothing. A change of `tick` loads the same address again. */
export function useJson<T>(path: string | null, tick: number): Loaded<T> {
  const [attempt, setAttempt] = useState(0);
  const [outcome, setOutcome] = useState<Outcome<T>>({ value: null, error: null, key: "" });
  const key = `${tick} ${attempt} ${path}`;

  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    getJson<T>(path, abort.signal).then(
      (value) => setOutcome({ value, error: null, key }),
      (error: unknown) => {
        if (!isAbort(error)) setOutcome((before) => ({ ...before, error, key }));
      },
    );
    return () => abort.abort();
  }, [key]);

  return {
    value: path === null ? null : outcome.value,
    error: path === null ? null : outcome.error,
    pending: path !== null && outcome.key !== key,
    retry: () => setAttempt((before) => before + 1),
  };
}

/** Loads again so long after the last answer came, while the page is looked at. */
export function usePolled<T>(path: string | null, every_ms: number, version = 0): Loaded<T> {
  const loaded = useJson<T>(path, version);
  useEffect(() => {
    // What is on its way is waited for: a slow server would never get to answer.
    if (path === null || loaded.pending) return;
    const timer = setInterval(() => {
      if (!document.hidden) loaded.retry();
    }, every_ms);
    return () => clearInterval(timer);
  }, [path, loaded.pending, every_ms]);
  return loaded;
}
