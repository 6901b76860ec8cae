// Places the nodes of a graph in layers: every edge points onwards, and a long one goes around the
// nodes between its ends. Pure.

import type { Graph, GraphNode } from "../api/types";

export const NODE_WIDTH = 148;
export const NODE_HEIGHT = 46;
/** What a long edge takes of a layer that it passes. */
const LANE = 14;
const GAP_ALONG = 84;
const GAP_ALONG_DOWN = 44;
const GAP_ACROSS = 18;
const MARGIN = 8;
/** Sweeps that untangle; more change nothing that one sees. */
const SWEEPS = 6;

export type Direction = "right" | "down";

export interface PlacedNode extends GraphNode {
  x: number;
  y: number;
}

export interface PlacedEdge {
  from: string;
  to: string;
  rate: number | null;
  path: string;
  /** Where its rate is written. */
  middle: { x: number; y: number };
}

export interface Placed {
  width: number;
  height: number;
  nodes: PlacedNode[];
  edges: PlacedEdge[];
}

/** A node, or the lane of a long edge, in its layer. */
interface Slot {
  id: string;
  node: GraphNode | null;
  near: string[];
  /** Middle of the slot, across the layers. */
  across: number;
  depth: number;
}

/** The slots that an edge passes, from its start to its end. */
interface Route {
  from: string;
  to: string;
  rate: number | null;
  stops: string[];
}

export function place(graph: Graph, direction: Direction): Placed {
  const { layers, routes } = slotsOf(graph);
  untangle(layers);
  const isRight = direction === "right";
  const [along, across] = isRight ? [NODE_WIDTH, NODE_HEIGHT] : [NODE_HEIGHT, NODE_WIDTH];
  const gap = isRight ? GAP_ALONG : GAP_ALONG_DOWN;
  const breadth = Math.max(across, ...layers.map((layer) => breadthOf(layer, across)));
  for (const layer of layers) spread(layer, across, breadth);
  const slots = new Map(layers.flat().map((slot) => [slot.id, slot]));
  const forward = (depth: number) => MARGIN + depth * (along + gap);
  const nodes = [...slots.values()].flatMap(({ node, depth, across: middle }) => {
    if (!node) return [];
    const [x, y] = [forward(depth), MARGIN + middle - across / 2];
    return [isRight ? { ...node, x, y } : { ...node, x: y, y: x }];
  });
  const edges = routes.map(({ from, to, rate, stops }) => {
    const points = stops.flatMap((id, at) => {
      const slot = slots.get(id);
      if (!slot) return [];
      const before = { along: forward(slot.depth), across: MARGIN + slot.across };
      const behind = { ...before, along: before.along + along };
      return at === 0 ? [behind] : at === stops.length - 1 ? [before] : [before, behind];
    });
    const isShared = routes.filter((route) => route.to === to).length > 1;
    return { from, to, rate, ...draw(points, direction, isShared) };
  });
  const length = layers.length * (along + gap) - gap + 2 * MARGIN;
  const wide = breadth + 2 * MARGIN;
  return isRight
    ? { width: length, height: wide, nodes, edges }
    : { width: wide, height: length, nodes, edges };
}

function slotsOf(graph: Graph): { layers: Slot[][]; routes: Route[] } {
  const depths = depthsOf(graph);
  const layers: Slot[][] = [];
  const add = (id: string, node: GraphNode | null, depth: number) => {
    const slot: Slot = { id, node, near: [], across: 0, depth };
    (layers[depth] ??= []).push(slot);
    return slot;
  };
  const slots = new Map(
    graph.nodes.map((node) => [node.id, add(node.id, node, depths.get(node.id) ?? 0)]),
  );
  const routes: Route[] = [];
  for (const { from, to, rate } of graph.edges) {
    const [start, end] = [slots.get(from), slots.get(to)];
    if (!start || !end || end.depth <= start.depth) continue;
    const stops = [start];
    for (let depth = start.depth + 1; depth < end.depth; depth += 1) {
      stops.push(add(`${from} to ${to} ${depth}`, null, depth));
    }
    stops.push(end);
    stops.slice(1).forEach((stop, at) => {
      const before = stops[at] as Slot;
      stop.near.push(before.id);
      before.near.push(stop.id);
    });
    routes.push({ from, to, rate, stops: stops.map(({ id }) => id) });
  }
  return { layers: Array.from(layers, (layer) => layer ?? []), routes };
}

/** The depth of a node is the longest way to it; sinks stand in the last layer. */
function depthsOf(graph: Graph): Map<string, number> {
  const depths = new Map(graph.nodes.map(({ id }) => [id, 0]));
  // A graph without a cycle settles after as many rounds as it has nodes.
  for (let round = 0; round < graph.nodes.length; round += 1) {
    for (const { from, to } of graph.edges) {
      const [before, own] = [depths.get(from), depths.get(to)];
      if (before === undefined || own === undefined) continue;
      depths.set(to, Math.min(Math.max(own, before + 1), graph.nodes.length));
    }
  }
  const last = Math.max(0, ...depths.values());
  for (const { id, kind } of graph.nodes) if (kind === "sink") depths.set(id, last);
  return depths;
}

/** Moves each slot towards the middle of its neighbours. */
function untangle(layers: Slot[][]): void {
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const places = new Map(
      layers.flatMap((layer) => layer.map((slot, at) => [slot.id, (at + 0.5) / layer.length])),
    );
    for (const layer of layers) {
      const wish = (slot: Slot) => mean(slot.near.map((id) => places.get(id) ?? 0.5));
      const wishes = new Map(layer.map((slot) => [slot.id, wish(slot)]));
      layer.sort((one, other) => (wishes.get(one.id) ?? 0) - (wishes.get(other.id) ?? 0));
      layer.forEach((slot, at) => places.set(slot.id, (at + 0.5) / layer.length));
    }
  }
}

function mean(values: number[]): number {
  return values.length === 0 ? 0.5 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function sizeOf(slot: Slot, across: number): number {
  return slot.node ? across : LANE;
}

function breadthOf(layer: Slot[], across: number): number {
  return layer.reduce((sum, slot) => sum + sizeOf(slot, across) + GAP_ACROSS, -GAP_ACROSS);
}

function spread(layer: Slot[], across: number, breadth: number): void {
  let edge = (breadth - breadthOf(layer, across)) / 2;
  for (const slot of layer) {
    slot.across = edge + sizeOf(slot, across) / 2;
    edge += sizeOf(slot, across) + GAP_ACROSS;
  }
}

interface Stop {
  along: number;
  across: number;
}

function draw(
  points: Stop[],
  direction: Direction,
  isShared: boolean,
): Pick<PlacedEdge, "path" | "middle"> {
  const text = ({ along, across }: Stop) => {
    return direction === "right" ? `${along} ${across}` : `${across} ${along}`;
  };
  const path = points.map((point, at) => {
    const before = points[at - 1];
    if (!before) return `M${text(point)}`;
    if (before.across === point.across) return `L${text(point)}`;
    const half = (before.along + point.along) / 2;
    const bends = [before, point].map(({ across }) => text({ along: half, across }));
    return `C${bends.join(" ")} ${text(point)}`;
  });
  const [before, last] = [points.at(-2), points.at(-1)];
  if (!before || !last) return { path: "", middle: { x: 0, y: 0 } };
  // Where edges meet, the label stands nearer to the start, and nearer to the end where they part.
  const part = isShared ? 0.36 : 0.62;
  const along = before.along + (last.along - before.along) * part;
  const across = before.across + (last.across - before.across) * part ** 2 * (3 - 2 * part);
  const middle = direction === "right" ? { x: along, y: across - 5 } : { x: across, y: along + 4 };
  return { path: path.join(""), middle };
}
