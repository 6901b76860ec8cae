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

/** Counts up every so many milliseconds while the page is looked at. */
export function useTicks(every_ms: number): number {
  const [ticks, setTicks] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setTicks((before) => before + 1);
    }, every_ms);
    return () => clearInterval(timer);
  }, [every_ms]);
  return ticks;
}
