// Rows whose times lie far outside of all others: named, and left out by a click.

import { isReport } from "../api/client";
import type { Outliers } from "../api/types";
import * as format from "../format";
import { Icon } from "../parts/icon";
import { usePage } from "../state/page";

export function OutlierNotice({ outliers }: { outliers: Outliers | null }) {
  const { go } = usePage();
  if (outliers === null) return null;
  const { before, after, start, end } = outliers;
  const parts = [
    before > 0 ? `${format.count(before)} before ${format.shortTime(start)}` : "",
    after > 0 ? `${format.count(after)} after ${format.shortTime(end)}` : "",
  ];
  const [rows, verb] = before + after === 1 ? ["request", "lies"] : ["requests", "lie"];
  return (
    <div class="notice" role="note">
      <Icon name="clock" />
      <span>
        {format.count(before + after)} {rows} {verb} far outside of all others in time:{" "}
        {parts.filter((part) => part !== "").join(", ")}.
      </span>
      {!isReport && (
        <button type="button" onClick={() => go({ range: null, start, end })}>
          Leave {before + after === 1 ? "it" : "them"} out
        </button>
      )}
    </div>
  );
}
