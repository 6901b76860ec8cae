// The head of a table: one row of names.

import type { ComponentChildren } from "preact";

/** The name of a column; in a pair, with the classes of its cells. */
export type HeadCell = string | [name: string, classes: string];

/** What is inside stands before the names. */
export function Head({ cells, children }: { cells: HeadCell[]; children?: ComponentChildren }) {
  return (
    <thead>
      <tr>
        {children}
        {cells.map((cell) => {
          const [name, classes] = typeof cell === "string" ? [cell] : cell;
          return (
            <th scope="col" class={classes}>
              {name}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}
