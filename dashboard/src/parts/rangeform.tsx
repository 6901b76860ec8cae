// A time range typed in: what the brush does, for keys and for phones. Times are UTC.

import { useState } from "preact/hooks";

import { usePage } from "../state/page";
import { isDate, isoTime } from "../state/url";

export function RangeForm({ onDone }: { onDone: () => void }) {
  const { state, go } = usePage();
  const [start, setStart] = useState(inputValue(state.start, "00:00:00"));
  const [end, setEnd] = useState(inputValue(state.end, "23:59:59"));
  const isBackwards = start !== "" && end !== "" && start > end;
  const apply = (event: SubmitEvent) => {
    event.preventDefault();
    if (isBackwards) return;
    go({ range: null, start: stateValue(start), end: stateValue(end) });
    onDone();
  };
  return (
    <form class="row form" onSubmit={apply} aria-label="Time range from and to">
      <label>
        From (UTC)
        <input
          type="datetime-local"
          step="1"
          value={start}
          onInput={(event) => setStart(event.currentTarget.value)}
        />
      </label>
      <label>
        To (UTC)
        <input
          type="datetime-local"
          step="1"
          value={end}
          onInput={(event) => setEnd(event.currentTarget.value)}
          aria-invalid={isBackwards}
          aria-describedby="range-order"
        />
      </label>
      <button type="submit" class="primary">
        Apply
      </button>
      <span id="range-order" class="bad" role="status">
        {isBackwards ? "The end lies before the start" : ""}
      </span>
    </form>
  );
}

function inputValue(time: string | null, clock: string): string {
  if (!time) return "";
  return isDate(time) ? `${time}T${clock}` : time.slice(0, 19);
}

function stateValue(text: string): string | null {
  if (text === "") return null;
  const time = new Date(`${text}Z`);
  return Number.isNaN(time.getTime()) ? null : isoTime(time);
}
