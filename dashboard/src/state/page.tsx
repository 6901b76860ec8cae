// What every part of the page may ask for: where it is, how to go elsewhere, what the server is.

import { createContext, type ComponentChildren } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";

import { isReport } from "../api/client";
import type { Column, Milling, Session } from "../api/types";
import { useJson, usePolled } from "./load";
import { addFilter, removeFilter, type Filter } from "./filters";
import { formatState, parseState, type PageState } from "./url";

export interface Page {
  state: PageState;
  /** Changes the address; what it says already it does not push again. */
  go(change: Partial<PageState>): void;
  /** The address of a change, for a link. */
  link(change: Partial<PageState>): string;
  filterBy(filter: Filter): void;
  unfilter(filter: Filter): void;
  session: Session | null;
  sessionError: unknown;
  columns: Column[];
  /** The run that fills the table, until all is in it. */
  milling: Milling | null;
  /** Counts the refreshes; whoever loads looks at it. */
  tick: number;
  refresh(): void;
}

/** How often a run that fills the table is asked how far it is. */
const LOOK_EVERY_MS = 500;
/** What it has delivered meanwhile is counted so often: counting and milling share the machine. */
const REFRESH_EVERY_MS = 5000;

/** Refreshes with what a run delivers: at its first rows, from time to time, and at its end. */
function useRefreshed(milling: Milling | null, refresh: () => void): void {
  const seen = useRef({ at: 0, epochs: 0, isMilling: false });
  useEffect(() => {
    const { at, epochs, isMilling } = seen.current;
    const isOver = isMilling && milling === null;
    const hasMore = milling !== null && milling.epochs > epochs;
    const now = performance.now();
    if (isOver || (hasMore && (epochs === 0 || now - at > REFRESH_EVERY_MS))) {
      seen.current = { at: now, epochs: milling?.epochs ?? 0, isMilling: !isOver };
      refresh();
    } else if (milling !== null) {
      seen.current.isMilling = true;
    }
  }, [milling]);
}

const Context = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(Context);
  if (!page) throw new Error("usePage outside of PageProvider");
  return page;
}

export function PageProvider({ children }: { children: ComponentChildren }) {
  const [search, setSearch] = useState(location.search);
  const [tick, setTick] = useState(0);
  const state = useMemo(() => parseState(isReport ? "" : search), [search]);
  const [isMilling, setMilling] = useState(false);
  const every_ms = isMilling ? LOOK_EVERY_MS : null;
  const session = usePolled<Session>("session", every_ms, tick === 0 ? 0 : 1);
  const milling = session.value?.milling?.done === false ? session.value.milling : null;
  const hasTable = session.value?.analytics != null && (milling?.epochs ?? 1) > 0;
  const columns = useJson<Column[]>(hasTable ? "analytics/columns" : null, 0);
  useEffect(() => setMilling(milling !== null), [milling !== null]);
  const refresh = () => setTick((before) => before + 1);
  useRefreshed(milling, refresh);

  useEffect(() => {
    const follow = () => setSearch(location.search);
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);

  const link = useCallback(
    (change: Partial<PageState>) => {
      const query = formatState({ ...state, ...change });
      return `${location.pathname}${query}`;
    },
    [state],
  );
  const go = useCallback(
    (change: Partial<PageState>) => {
      if (isReport) return;
      const address = link(change);
      if (address === `${location.pathname}${location.search}`) return;
      history.pushState(null, "", address);
      setSearch(location.search);
    },
    [link],
  );
  const page: Page = {
    state,
    go,
    link,
    filterBy: (filter) => go({ filters: addFilter(state.filters, filter) }),
    unfilter: (filter) => go({ filters: removeFilter(state.filters, filter) }),
    session: session.value,
    sessionError: session.error,
    columns: columns.value ?? [],
    milling,
    tick,
    refresh,
  };
  return <Context.Provider value={page}>{children}</Context.Provider>;
}
