// Values that filter when they are clicked, and the keys that lead from cell to cell.

import type { Cell } from "../api/types";
import { isReport } from "../api/client";
import { usePage } from "../state/page";

/** What a cell shows; an absent value has a word, not a gap. */
export function cellText(value: Cell): string {
  return value === null || value === "" ? "(none)" : String(value);
}

interface Props {
  column: string;
  value: Cell;
  /** In a table only the first can be reached by Tab; arrow keys lead on. */
  reachable?: boolean;
}

export function FilterCell({ column, value, reachable = true }: Props) {
  const { filterBy } = usePage();
  const text = cellText(value);
  return (
    <button
      type="button"
      class="value"
      data-cell
      disabled={isReport}
      tabIndex={reachable ? 0 : -1}
      title={`Only ${column} = ${text}`}
      onClick={() =>
        filterBy({ column, operator: "=", value: value === null ? "" : String(value) })
      }
    >
      {text}
    </button>
  );
}

/** For the keydown of a table: arrow keys move between its cells. */
export function moveBetweenCells(event: KeyboardEvent): void {
  const cell = event.target instanceof HTMLElement ? event.target : null;
  const row = cell?.closest("tr");
  const table = cell?.closest("table");
  if (!cell?.hasAttribute("data-cell") || !row || !table) return;
  const target = neighbour(event.key, cell, row, table);
  if (!target) return;
  event.preventDefault();
  target.focus();
}

function neighbour(
  key: string,
  cell: HTMLElement,
  row: HTMLElement,
  table: HTMLElement,
): HTMLElement | undefined {
  const cells = [...row.querySelectorAll<HTMLElement>("[data-cell]")];
  const at = cells.indexOf(cell);
  if (key === "ArrowRight") return cells[at + 1];
  if (key === "ArrowLeft") return cells[at - 1];
  if (key !== "ArrowDown" && key !== "ArrowUp") return undefined;
  const rows = [...table.querySelectorAll<HTMLElement>("tbody tr")];
  const next = rows[rows.indexOf(row) + (key === "ArrowDown" ? 1 : -1)];
  return next?.querySelectorAll<HTMLElement>("[data-cell]")[at];
}
