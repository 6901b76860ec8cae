import { describe, expect, test } from "vitest";

import type { Graph } from "../../src/api/types";
import {
  NODE_HEIGHT,
  NODE_WIDTH,
  place,
  type Placed,
  type PlacedNode,
} from "../../src/pipelines/layout";

/** `a>b b>c` as a graph; what begins with `sink` is one. */
function graphOf(text: string): Graph {
  const pairs = text.split(" ").map((pair) => pair.split(">") as [string, string]);
  const ids = [...new Set(pairs.flat())];
  const targets = new Set(pairs.map(([, to]) => to));
  const kindOf = (id: string) => {
    if (id.startsWith("sink")) return "sink";
    return targets.has(id) ? "transform" : "source";
  };
  return {
    nodes: ids.map((id) => ({ id, kind: kindOf(id), type: "x", rate: null })),
    edges: pairs.map(([from, to]) => ({ from, to, rate: 1 })),
  };
}

const node = (placed: Placed, id: string) =>
  placed.nodes.find((one) => one.id === id) as PlacedNode;

describe.each(["right", "down"] as const)("a graph that runs %s", (direction) => {
  const along = (one: PlacedNode) => (direction === "right" ? one.x : one.y);
  const size = direction === "right" ? NODE_WIDTH : NODE_HEIGHT;

  test.each(["a>b b>c c>sink", "a>c b>x x>c c>d d>sink1 d>e e>sink2", "a>sink1 a>sink2 b>sink1"])(
    "%s: every edge points onwards, nothing overlaps, all is inside",
    (text) => {
      const graph = graphOf(text);
      const placed = place(graph, direction);
      expect(placed.nodes).toHaveLength(graph.nodes.length);
      expect(placed.edges).toHaveLength(graph.edges.length);
      for (const { from, to } of placed.edges) {
        expect(along(node(placed, to))).toBeGreaterThanOrEqual(along(node(placed, from)) + size);
      }
      for (const one of placed.nodes) {
        expect(one.x + NODE_WIDTH).toBeLessThanOrEqual(placed.width);
        expect(one.y + NODE_HEIGHT).toBeLessThanOrEqual(placed.height);
        const others = placed.nodes.filter((other) => other.id !== one.id);
        expect(others.filter((other) => overlap(one, other))).toEqual([]);
      }
    },
  );
});

test("sinks stand in the last layer", () => {
  const placed = place(graphOf("a>sink1 a>b b>c c>sink2"), "right");
  expect(node(placed, "sink1").x).toBe(node(placed, "sink2").x);
});

test("a long edge goes around the nodes between its ends", () => {
  const placed = place(graphOf("a>b b>sink a>sink"), "right");
  const between = node(placed, "b");
  const long = placed.edges.find(({ from, to }) => from === "a" && to === "sink");
  const heights = [...(long?.path.matchAll(/L[\d.]+ ([\d.]+)/g) ?? [])].map(([, y]) => Number(y));
  expect(heights.length).toBeGreaterThan(0);
  for (const y of heights) {
    expect(y < between.y || y > between.y + NODE_HEIGHT, `${y} at ${between.y}`).toBe(true);
  }
});

test("a cycle, an edge to nowhere and an empty graph draw what can be drawn", () => {
  expect(place(graphOf("a>b b>a"), "right").nodes).toHaveLength(2);
  const graph = graphOf("a>b");
  graph.edges.push({ from: "a", to: "nowhere", rate: null });
  expect(place(graph, "right").edges).toHaveLength(1);
  expect(place({ nodes: [], edges: [] }, "right").nodes).toEqual([]);
});

function overlap(one: PlacedNode, other: PlacedNode): boolean {
  return Math.abs(one.x - other.x) < NODE_WIDTH && Math.abs(one.y - other.y) < NODE_HEIGHT;
}
