// A filter typed in: any column, an operator that fits its type, a value with suggestions.

import { useState } from "preact/hooks";

import type { Column, TopRow } from "../api/types";
import { useJson } from "../state/load";
import { usePage } from "../state/page";
import { analyticsParams } from "../state/url";
import type { Operator } from "../state/filters";

const WORDS: Record<Operator, string> = {
  "=": "is",
  "!=": "is not",
  "~": "contains",
  ">=": "at least",
  "<=": "at most",
};
const FITTING: Record<Column["type"], Operator[]> = {
  text: ["=", "!=", "~"],
  number: ["=", "!=", ">=", "<="],
  time: [">=", "<="],
  boolean: ["=", "!="],
};
const SUGGESTIONS_MAX = 20;

export function FilterForm({ onDone }: { onDone: () => void }) {
  const { columns, filterBy } = usePage();
  const choices = columns.filter((column) => column.filterable);
  const [name, setName] = useState("");
  const [operator, setOperator] = useState<Operator>("=");
  const [value, setValue] = useState("");
  const column = choices.find((choice) => choice.name === name) ?? preferred(choices);
  const operators = FITTING[column?.type ?? "text"];
  const fitting = operators.includes(operator) ? operator : (operators[0] as Operator);
  const add = (event: SubmitEvent) => {
    event.preventDefault();
    if (!column) return;
    filterBy({ column: column.name, operator: fitting, value: value.trim() });
    onDone();
  };
  return (
    <form class="row form" onSubmit={add} aria-label="New filter">
      <label>
        Column
        <select
          value={column?.name ?? ""}
          onChange={(event) => setName(event.currentTarget.value)}
          autofocus
        >
          {choices.map((choice) => (
            <option value={choice.name}>{choice.name}</option>
          ))}
        </select>
      </label>
      <label>
        Condition
        <select
          value={fitting}
          onChange={(event) => setOperator(event.currentTarget.value as Operator)}
        >
          {operators.map((choice) => (
            <option value={choice}>{WORDS[choice]}</option>
          ))}
        </select>
      </label>
      <label class="wide">
        Value
        <input
          type="text"
          value={value}
          list="filter-values"
          placeholder={fitting === "=" ? "empty: where there is none" : ""}
          onInput={(event) => setValue(event.currentTarget.value)}
        />
      </label>
      {column && <Suggestions column={column} />}
      <button type="submit" class="primary">
        Add
      </button>
    </form>
  );
}

function Suggestions({ column }: { column: Column }) {
  const { state } = usePage();
  const params = analyticsParams(state, new Date(Math.floor(Date.now() / 60_000) * 60_000));
  params.set("limit", String(SUGGESTIONS_MAX));
  params.set("visitors", "exclude");
  const isListed = column.type !== "time";
  const path = `analytics/top/${encodeURIComponent(column.name)}?${params}`;
  const top = useJson<TopRow[]>(isListed ? path : null, 0);
  const values = (top.value ?? []).map(({ value }) => value).filter((value) => value !== null);
  return (
    <datalist id="filter-values">
      {values.map((value) => (
        <option value={String(value)} />
      ))}
    </datalist>
  );
}

/** What people filter by most. */
function preferred(choices: Column[]): Column | undefined {
  const usual = ["endpoint", "path", "status", "ip"];
  const found = usual.map((name) => choices.find((choice) => choice.name === name));
  return found.find((choice) => choice !== undefined) ?? choices[0];
}
