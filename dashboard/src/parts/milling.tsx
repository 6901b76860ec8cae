// How far the run is that fills the table while one looks.

import type { Milling } from "../api/types";
import * as format from "../format";

export function MillingBar({ milling }: { milling: Milling }) {
  const { read, refused, bytes, bytes_total, epochs } = milling;
  const share = bytes_total === null ? null : Math.min(bytes / Math.max(bytes_total, 1), 1);
  const parts = [`${format.shortCount(read)} lines`, format.bytes(bytes)];
  if (refused > 0) parts.push(`${format.shortCount(refused)} refused`);
  return (
    <div class="notice" role="status">
      <progress aria-label="Reading" {...(share === null ? {} : { value: share })} />
      <span>
        {share === null ? "Reading" : `${Math.floor(share * 100)} % read`}: {parts.join(", ")}.{" "}
        {epochs === 0 ? "The first figures are about to come." : "The figures below still grow."}
      </span>
    </div>
  );
}
