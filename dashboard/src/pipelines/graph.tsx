// The graph of a pipeline with its rates, drawn as SVG and written as a table.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Graph } from "../api/types";
import * as format from "../format";
import { Head } from "../parts/head";
import { NODE_HEIGHT, NODE_WIDTH, place, type Direction, type PlacedNode } from "./layout";

/** Below this width the graph runs downwards. */
const NARROW = 620;

export function GraphView({ graph }: { graph: Graph }) {
  const box = useRef<HTMLDivElement>(null);
  const [direction, setDirection] = useState<Direction>("right");
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      setDirection(element.clientWidth < NARROW ? "down" : "right");
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const placed = useMemo(() => place(graph, direction), [graph, direction]);
  const { width, height, nodes, edges } = placed;
  return (
    <div ref={box}>
      <svg
        class="graph"
        viewBox={`0 0 ${width} ${height}`}
        style={{ maxWidth: `${width}px` }}
        role="img"
        aria-label={`Graph of ${nodes.length} steps; the table below holds the same`}
      >
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX="8"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto"
          >
            <path d="M0 0 8 4 0 8z" />
          </marker>
        </defs>
        {edges.map((edge) => (
          <path
            key={`${edge.from} ${edge.to}`}
            class={edge.rate ? "edge busy" : "edge"}
            d={edge.path}
            marker-end="url(#arrow)"
          />
        ))}
        {nodes.map((node) => (
          <NodeBox key={node.id} node={node} />
        ))}
        {edges.map((edge) => (
          <text class="rate" x={edge.middle.x} y={edge.middle.y}>
            {edge.rate === null ? "" : format.rate(edge.rate)}
          </text>
        ))}
      </svg>
      <EdgeTable graph={graph} />
    </div>
  );
}

/** Letters that fit into a box. */
const NAME_CHARS = 19;

function NodeBox({ node }: { node: PlacedNode }) {
  const name = node.id.length > NAME_CHARS ? `${node.id.slice(0, NAME_CHARS - 1)}…` : node.id;
  return (
    <g class={`node ${node.kind}`} transform={`translate(${node.x} ${node.y})`}>
      <title>{`${node.kind} ${node.id} (${node.type})`}</title>
      <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx="6" />
      <path class="kind" d={`M1 6v${NODE_HEIGHT - 12}`} />
      <text class="name" x="12" y="19">
        {name}
      </text>
      <text class="type" x="12" y="35">
        {node.type}
        {node.rate === null ? "" : ` · ${format.rate(node.rate)}`}
      </text>
    </g>
  );
}

function EdgeTable({ graph }: { graph: Graph }) {
  return (
    <details class="points">
      <summary>
        Table<span class="sr-only"> of the graph</span>
      </summary>
      <table>
        <caption class="sr-only">
          Records per second between the steps, over the last minute
        </caption>
        <Head cells={["From", "To", ["Records/s", "number"]]} />
        <tbody>
          {graph.edges.map(({ from, to, rate }) => (
            <tr>
              <td>{from}</td>
              <td>{to}</td>
              <td class="number">{format.shortCount(rate)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
