// The live tail: the newest records, and those that are committed while one looks.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { isAbort, readEvents } from "../api/client";
import type { Records, Row } from "../api/types";
import { FilterBar } from "../parts/filterbar";
import { Icon } from "../parts/icon";
import { Await, ProblemBox } from "../parts/notice";
import { useJson } from "../state/load";
import { usePage } from "../state/page";
import { analyticsParams, formatState } from "../state/url";
import * as format from "../format";
import { RecordTable } from "./records";

const ROWS_FIRST = 100;
/** Older rows leave the page when new ones come. */
const ROWS_MAX = 500;
/** Rows are shown this often at most, however fast they come. */
const SHOW_EVERY_MS = 250;

export function LiveView() {
  const { state, tick } = usePage();
  const query = useMemo(
    () => analyticsParams(state, new Date()).toString(),
    [formatState(state), tick],
  );
  const [isOn, setOn] = useState(true);
  const tail = useTail(`analytics/tail?${query}`, isOn);
  const records = useJson<Records>(`analytics/records?${query}&limit=${ROWS_FIRST}`, tick);
  return (
    <>
      <h1 class="sr-only">Live</h1>
      <FilterBar />
      <section class="panel live" aria-label="Records">
        <header>
          <button type="button" class={isOn ? "" : "primary"} onClick={() => setOn(!isOn)}>
            <Icon name={isOn ? "pause" : "play"} />
            {isOn ? "Pause" : "Follow"}
          </button>
          <TailState tail={tail} isOn={isOn} />
        </header>
        {tail.error !== null && isOn && <ProblemBox error={tail.error} retry={tail.retry} />}
        <Await loaded={records}>
          {(first) => <RecordTable title="Newest records" records={joined(first, tail.rows)} />}
        </Await>
      </section>
    </>
  );
}

function TailState({ tail, isOn }: { tail: Tail; isOn: boolean }) {
  const isFollowing = isOn && tail.isOpen && tail.error === null;
  const text = isFollowing ? "Following" : isOn && tail.error === null ? "Connecting…" : "Paused";
  return (
    <p class={isFollowing ? "tail following" : "tail"} role="status">
      <i aria-hidden="true" />
      {text}
      {tail.rows.length > 0 && <span>, {format.count(tail.seen)} new</span>}
    </p>
  );
}

interface Tail {
  rows: Row[];
  seen: number;
  isOpen: boolean;
  error: unknown;
  retry: () => void;
}

const NOTHING = { rows: [] as Row[], seen: 0, isOpen: false, error: null as unknown };

/** Follows while it is on; what came stays when it is paused, and goes with another query. */
function useTail(path: string, isOn: boolean): Tail {
  const [attempt, setAttempt] = useState(0);
  const [tail, setTail] = useState(NOTHING);
  const waiting = useRef<Row[]>([]);

  useEffect(() => {
    waiting.current = [];
    setTail(NOTHING);
  }, [path]);

  useEffect(() => {
    if (!isOn) return;
    const abort = new AbortController();
    const fail = (error: unknown) => {
      if (!isAbort(error)) setTail((before) => ({ ...before, error, isOpen: false }));
    };
    const open = () => setTail((before) => ({ ...before, isOpen: true, error: null }));
    const take = (text: string) => {
      waiting.current.push(JSON.parse(text) as Row);
      if (waiting.current.length > ROWS_MAX) waiting.current.shift();
    };
    readEvents(path, abort.signal, open, take).then(
      () => fail(new Error("The server ended the stream.")),
      fail,
    );
    const timer = setInterval(() => {
      const rows = waiting.current.splice(0).reverse();
      if (rows.length === 0) return;
      setTail((before) => ({
        ...before,
        rows: [...rows, ...before.rows].slice(0, ROWS_MAX),
        seen: before.seen + rows.length,
      }));
    }, SHOW_EVERY_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
      setTail((before) => ({ ...before, isOpen: false }));
    };
  }, [path, isOn, attempt]);

  return { ...tail, retry: () => setAttempt((before) => before + 1) };
}

/** A row that was committed while the first ones loaded comes both ways. */
function joined(first: Records, rows: Row[]): Records {
  const seen = new Set(rows.map(originOf).filter((origin) => origin !== null));
  const others = first.rows.filter((row) => !seen.has(originOf(row) ?? ""));
  return { columns: first.columns, rows: [...rows, ...others].slice(0, ROWS_MAX) };
}

function originOf(row: Row): string | null {
  const { _split: split, _position: position } = row;
  return split == null || position == null ? null : `${split}@${position}`;
}
