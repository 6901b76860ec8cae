// Asks before dead letters are given again, and says what came of it.

import { useEffect, useRef, useState } from "preact/hooks";

import { postJson } from "../api/client";
import type { Replayed } from "../api/types";
import * as format from "../format";
import { ProblemBox } from "../parts/notice";

interface Props {
  pipeline: string;
  sink: string;
  /** None: all that are open. */
  origins: string[];
  count: number;
  onDone: (said: string, hasChanged: boolean) => void;
}

export function ReplayDialog({ pipeline, sink, origins, count, onDone }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    dialog.current?.showModal();
    return () => dialog.current?.close();
  }, []);
  const replay = async () => {
    setBusy(true);
    setError(null);
    const body = {
      ...(sink === "" ? {} : { sink }),
      ...(origins.length === 0 ? {} : { origins }),
    };
    const path = `pipelines/${encodeURIComponent(pipeline)}/dead_letters/replay`;
    try {
      onDone(outcomeText(await postJson<Replayed>(path, body)), true);
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <dialog
      ref={dialog}
      aria-labelledby="replay-title"
      onCancel={(event) => {
        if (isBusy) event.preventDefault();
        else onDone("", false);
      }}
    >
      <h2 id="replay-title">
        Replay {format.count(count)} dead {count === 1 ? "letter" : "letters"}?
      </h2>
      <p>
        They go through the pipeline as its file is now, exactly once,{" "}
        {sink === "" ? "to the sinks that lack them" : `to ${sink}`}. What is refused again stays
        open.
      </p>
      {error !== null && <ProblemBox error={error} retry={() => void replay()} />}
      <div class="buttons">
        <button type="button" disabled={isBusy} onClick={() => onDone("", false)}>
          Cancel
        </button>
        {error === null && (
          <button type="button" class="primary" disabled={isBusy} onClick={() => void replay()}>
            {isBusy ? "Replaying…" : "Replay"}
          </button>
        )}
      </div>
    </dialog>
  );
}

function outcomeText({ replayed, remaining, failed }: Replayed): string {
  const parts = [`${format.count(replayed)} replayed`];
  if (failed > 0) parts.push(`${format.count(failed)} refused again`);
  if (remaining > 0) parts.push(`${format.count(remaining)} remain open`);
  return `${parts.join(", ")}.`;
}
