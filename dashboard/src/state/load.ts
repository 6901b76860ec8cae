// Loads one address at a time: what is superseded is aborted, the old value stays until the new is there.

import { useEffect, useRef, useState } from "preact/hooks";

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

export interface Staged<T> extends Loaded<T> {
  /** Whether the whole answer is on its way. */
  isCounting: boolean;
}

/**
 * First the quick answer, then the whole one, which takes its place; without a whole one the quick
 * one stays. What was shown last stays until the next quick answer is there.
 */
export function useStaged<T>(quick: string | null, whole: string | null, tick: number): Staged<T> {
  const first = useJson<T>(quick, tick);
  const hasFirst = quick !== null && !first.pending && first.error === null;
  const second = useJson<T>(hasFirst ? whole : null, tick);
  const shown = useRef<T | null>(null);
  if (hasFirst) {
    const isWhole = whole !== null && !second.pending && second.error === null;
    shown.current = isWhole ? second.value : first.value;
  }
  const isCounting = hasFirst && second.pending;
  return { ...first, value: quick === null ? null : shown.current, isCounting };
}

/** Loads again so long after the last answer came, while the page is looked at; `null` does not. */
export function usePolled<T>(path: string | null, every_ms: number | null, version = 0): Loaded<T> {
  const loaded = useJson<T>(path, version);
  useEffect(() => {
    // What is on its way is waited for: a slow server would never get to answer.
    if (path === null || every_ms === null || loaded.pending) return;
    const timer = setInterval(() => {
      if (!document.hidden) loaded.retry();
    }, every_ms);
    return () => clearInterval(timer);
  }, [path, loaded.pending, every_ms]);
  return loaded;
}
