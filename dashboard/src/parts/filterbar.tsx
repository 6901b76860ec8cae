// What narrows the view: time, filters as chips, bots, static files; and the link to share it.

import { useId, useState } from "preact/hooks";

import { shortTime } from "../format";
import { describe, formatFilter, negate, same, type Filter } from "../state/filters";
import { usePage } from "../state/page";
import { CHOICES, RANGES, START, type Choice, type Range } from "../state/url";
import { FilterForm } from "./filterform";
import { Icon } from "./icon";
import { RangeForm } from "./rangeform";

const RANGE_NAMES: Record<Range, string> = {
  "1h": "1 h",
  "24h": "24 h",
  "7d": "7 d",
  "30d": "30 d",
};

type Opened = "none" | "range" | "filter";

export function FilterBar() {
  const { state, go, refresh } = usePage();
  const [opened, setOpened] = useState<Opened>("none");
  const toggle = (what: Opened) => setOpened(opened === what ? "none" : what);
  const close = () => setOpened("none");
  return (
    <section class="filterbar" aria-label="Filters">
      <div class="row">
        <RangeButtons />
        <Disclosure
          label="From, to"
          icon="clock"
          isOpen={opened === "range"}
          onToggle={() => toggle("range")}
        />
        <Disclosure
          label="Filter"
          icon="plus"
          isOpen={opened === "filter"}
          onToggle={() => toggle("filter")}
        />
        <ChoiceSelect label="Bots" value={state.bots} onChange={(bots) => go({ bots })} />
        <ChoiceSelect
          label="Static"
          value={state.statics}
          onChange={(statics) => go({ statics })}
        />
        <span class="space" />
        <span class="together">
          <ShareButton />
          <button type="button" class="icon" onClick={refresh} aria-label="Refresh" title="Refresh">
            <Icon name="refresh" />
          </button>
        </span>
      </div>
      {opened === "range" && <RangeForm onDone={close} />}
      {opened === "filter" && <FilterForm onDone={close} />}
      <Chips />
    </section>
  );
}

function RangeButtons() {
  const { state, go } = usePage();
  const isAll = state.range === null && state.start === null && state.end === null;
  return (
    <div class="segments" role="group" aria-label="Time range">
      {RANGES.map((range) => (
        <button
          type="button"
          aria-pressed={state.range === range}
          onClick={() => go({ range, start: null, end: null })}
        >
          {RANGE_NAMES[range]}
        </button>
      ))}
      <button
        type="button"
        aria-pressed={isAll}
        onClick={() => go({ range: null, start: null, end: null })}
      >
        All
      </button>
    </div>
  );
}

interface DisclosureProps {
  label: string;
  icon: "clock" | "plus";
  isOpen: boolean;
  onToggle: () => void;
}

function Disclosure({ label, icon, isOpen, onToggle }: DisclosureProps) {
  return (
    <button type="button" aria-expanded={isOpen} onClick={onToggle}>
      <Icon name={icon} />
      {label}
    </button>
  );
}

interface ChoiceProps {
  label: string;
  value: Choice;
  onChange: (choice: Choice) => void;
}

const CHOICE_NAMES: Record<Choice, string> = { include: "in", exclude: "out", only: "only" };

function ChoiceSelect({ label, value, onChange }: ChoiceProps) {
  const id = useId();
  return (
    <span class={value === "include" ? "choice" : "choice active"}>
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        onChange={(event) => onChange(event.currentTarget.value as Choice)}
      >
        {CHOICES.map((choice) => (
          <option value={choice}>{CHOICE_NAMES[choice]}</option>
        ))}
      </select>
    </span>
  );
}

function ShareButton() {
  const [said, setSaid] = useState("");
  const share = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      setSaid("Link copied");
    } catch {
      setSaid("Copy the address of this page: it holds all you see");
    }
    setTimeout(() => setSaid(""), 4000);
  };
  return (
    <>
      <span class="said" role="status">
        {said}
      </span>
      <button type="button" class="icon" onClick={share} aria-label="Copy link" title="Copy link">
        <Icon name="link" />
      </button>
    </>
  );
}

/** What is filtered by, each with a way out. */
function Chips() {
  const { state, go } = usePage();
  const { start, end, filters } = state;
  if (!start && !end && filters.length === 0) return null;
  return (
    <ul class="chips" aria-label="Active filters">
      {(start || end) && (
        <li class="chip">
          <span>{rangeText(start, end)}</span>
          <Remove what="time range" onClick={() => go({ start: null, end: null })} />
        </li>
      )}
      {filters.map((filter) => (
        <FilterChip key={formatFilter(filter)} filter={filter} />
      ))}
      <li>
        <button type="button" class="plain" onClick={() => go(cleared)}>
          Clear all
        </button>
      </li>
    </ul>
  );
}

const cleared = {
  range: null,
  start: null,
  end: null,
  filters: START.filters,
  bots: START.bots,
  statics: START.statics,
};

function rangeText(start: string | null, end: string | null): string {
  if (start && end) return `${shortTime(start)} – ${shortTime(end)}`;
  return start ? `from ${shortTime(start)}` : `until ${shortTime(end)}`;
}

function FilterChip({ filter }: { filter: Filter }) {
  const { state, go, unfilter } = usePage();
  const opposite = negate(filter);
  const text = describe(filter);
  const turn = () => {
    if (!opposite) return;
    go({ filters: state.filters.map((other) => (same(other, filter) ? opposite : other)) });
  };
  return (
    <li class={filter.operator === "!=" ? "chip negated" : "chip"}>
      <span>{text}</span>
      {opposite && (
        <button
          type="button"
          onClick={turn}
          aria-label={`Negate ${text}`}
          title={describe(opposite)}
        >
          <Icon name="not" />
        </button>
      )}
      <Remove what={text} onClick={() => unfilter(filter)} />
    </li>
  );
}

function Remove({ what, onClick }: { what: string; onClick: () => void }) {
  return (
    <button type="button" onClick={onClick} aria-label={`Remove ${what}`} title="Remove">
      <Icon name="close" />
    </button>
  );
}
