// Dead letters: what was refused, why, and giving it again.

import { useEffect, useState } from "preact/hooks";

import { Await } from "../parts/notice";
import type { DeadLetters } from "../api/types";
import * as format from "../format";
import { usePolled } from "../state/load";
import { usePage } from "../state/page";
import type { PageState } from "../state/url";
import { LetterTable } from "./lettertable";
import { ReplayDialog } from "./replay";

const PAGE = 20;
const POLL_EVERY_MS = 5000;
const STATES = ["open", "replayed", "acknowledged", "all"];

interface Props {
  pipeline: string;
  sinks: string[];
}

export function Letters({ pipeline, sinks }: Props) {
  const { state, session } = usePage();
  const { letters } = state;
  const [replays, setReplays] = useState(0);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [isAsking, setAsking] = useState(false);
  const [said, setSaid] = useState("");
  useEffect(() => setSelected(new Set()), [letters]);

  const path = `pipelines/${encodeURIComponent(pipeline)}/dead_letters?${queryOf(letters)}`;
  const loaded = usePolled<DeadLetters>(path, POLL_EVERY_MS, replays);
  const done = (text: string, hasChanged: boolean) => {
    setAsking(false);
    setSaid(text);
    if (!hasChanged) return;
    setSelected(new Set());
    setReplays((before) => before + 1);
  };
  const isWritable = session?.writable ?? false;
  const total = loaded.value?.total ?? 0;
  const canReplay =
    letters.state === "open" && total > 0 && (letters.reason === "" || selected.size > 0);
  return (
    <>
      <Filters sinks={sinks} />
      <p class="said" role="status">
        {said}
      </p>
      <Await loaded={{ ...loaded, pending: false }}>
        {(found) =>
          found.total === 0 ? (
            <p class="hint">{nothingText(letters)}</p>
          ) : (
            <>
              <LetterTable
                letters={found.letters}
                selected={selected}
                onSelect={isWritable && letters.state === "open" ? setSelected : null}
              />
              <div class="row">
                {isWritable && canReplay && (
                  <button type="button" class="primary" onClick={() => setAsking(true)}>
                    {selected.size > 0
                      ? `Replay ${format.count(selected.size)} selected`
                      : `Replay all ${format.count(found.total)}`}
                  </button>
                )}
                <span class="space" />
                <Pager total={found.total} />
              </div>
            </>
          )
        }
      </Await>
      {!isWritable && total > 0 && (
        <p class="hint">
          This server only looks. Replay with{" "}
          <code>logmill dead-letters replay {pipeline}.yaml</code>.
        </p>
      )}
      {isAsking && (
        <ReplayDialog
          pipeline={pipeline}
          sink={letters.sink}
          origins={[...selected]}
          count={selected.size || total}
          onDone={done}
        />
      )}
    </>
  );
}

function Filters({ sinks }: { sinks: string[] }) {
  const { state, go } = usePage();
  const { letters } = state;
  const set = (change: Partial<PageState["letters"]>) => {
    go({ letters: { ...letters, page: 0, ...change } });
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    set({ reason: String(form.get("reason") ?? "").trim() });
  };
  return (
    <form class="row form" onSubmit={submit} aria-label="Filter dead letters">
      <label>
        State
        <select
          value={letters.state}
          onChange={(event) => set({ state: event.currentTarget.value })}
        >
          {STATES.map((name) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Sink
        <select value={letters.sink} onChange={(event) => set({ sink: event.currentTarget.value })}>
          <option value="">all</option>
          {sinks.map((sink) => (
            <option value={sink}>{sink}</option>
          ))}
        </select>
      </label>
      <label class="wide">
        Reason
        <input name="reason" type="search" defaultValue={letters.reason} placeholder="contains" />
      </label>
      <button type="submit">Search</button>
    </form>
  );
}

function Pager({ total }: { total: number }) {
  const { state, go } = usePage();
  const { letters } = state;
  const pages = Math.max(1, Math.ceil(total / PAGE));
  const turn = (page: number) => go({ letters: { ...letters, page } });
  if (pages === 1) return <span class="hint">{format.count(total)} in all</span>;
  const from = letters.page * PAGE + 1;
  return (
    <nav class="row" aria-label="Pages of dead letters">
      <span class="hint">
        {format.count(from)}–{format.count(Math.min(from + PAGE - 1, total))} of{" "}
        {format.count(total)}
      </span>
      <button type="button" disabled={letters.page === 0} onClick={() => turn(letters.page - 1)}>
        Newer
      </button>
      <button
        type="button"
        disabled={letters.page >= pages - 1}
        onClick={() => turn(letters.page + 1)}
      >
        Older
      </button>
    </nav>
  );
}

function queryOf({ state, sink, reason, page }: PageState["letters"]): string {
  const params = new URLSearchParams({ state });
  if (sink !== "") params.set("sink", sink);
  if (reason !== "") params.set("reason", reason);
  params.set("limit", String(PAGE));
  params.set("offset", String(page * PAGE));
  return params.toString();
}

function nothingText({ state, sink, reason }: PageState["letters"]): string {
  if (sink !== "" || reason !== "") return "No dead letter matches.";
  return state === "open" ? "No open dead letter: nothing waits for you." : "No dead letters.";
}
