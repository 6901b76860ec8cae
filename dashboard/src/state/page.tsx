// What every part of the page may ask for: where it is, how to go elsewhere, what the server is.

import { createContext, type ComponentChildren } from "preact";
import { useCallback, useContext, useEffect, useMemo, useState } from "preact/hooks";

import type { Column, Session } from "../api/types";
import { useJson } from "./load";
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
  /** Counts the refreshes; whoever loads looks at it. */
  tick: number;
  refresh(): void;
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
  const state = useMemo(() => parseState(search), [search]);
  const session = useJson<Session>("session", tick === 0 ? 0 : 1);
  const hasTable = session.value?.analytics != null;
  const columns = useJson<Column[]>(hasTable ? "analytics/columns" : null, 0);

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
    tick,
    refresh: () => setTick((before) => before + 1),
  };
  return <Context.Provider value={page}>{children}</Context.Provider>;
}
