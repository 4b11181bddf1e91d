/** The weights λ of mixed branches: where they lie in the arenas, and how they follow the gradients. @module */
import { ShapeError, sizeOf, type Tensor } from "../core/ir/mod.ts";
import type { Mixing } from "../adapters/mod.ts";
import {
  add,
  broadcastTo,
  div,
  eq,
  iota,
  lt,
  maximum,
  minimum,
  mul,
  reshape,
  slice,
  sqrt,
  sum,
  where,
} from "../ops/mod.ts";
import { type ArenaLeaf, type Arenas, type ShapeClass, trainedLeaves } from "./arena.ts";

/** Which branch of the mix a leaf belongs to; null for leaves outside of it. */
export function branchOf({ path, branches }: Mixing, leaf: string): number | null {
  const b = branches.findIndex((_, i) => leaf.startsWith(`${path}branches.${i}.`));
  return b < 0 ? null : b;
}

/** The leaf that holds the weights of a mix, f32[branches] for each member. */
export function weightsLeaf(of: ShapeClass, { path }: Mixing): ArenaLeaf {
  const leaf = of.leaves.find((l) => l.path === `${path}weights`);
  if (!leaf) throw new Error(`The class ${of.key} has no weights at "${path}weights".`);
  return leaf;
}

/** Weight of a branch for each member, f32[members]. */
export function weightsOf(of: ShapeClass, mixing: Mixing, arenas: Arenas, branch: number): Tensor {
  const arena = arenas[weightsLeaf(of, mixing).key]!;
  const column = slice(arena, { start: [0, branch], stop: [of.members.length, branch + 1] });
  return reshape(column, [of.members.length]);
}

/**
 * New weights of every mix, by arena: the rule's shares of the gradient norms, smoothed and clamped. Norms are of the
 * raw gradients, over √(number of parameters); where λ acts in the forward pass they are divided by λ.
 */
export function nextWeights(classes: readonly ShapeClass[], params: Arenas, grads: Arenas): Arenas {
  const next: Record<string, Tensor> = {};
  for (const of of classes) {
    for (const mixing of of.mixing) {
      const { rule, branches, ema, clamp: [low, high] } = mixing;
      const shares = rule(branches.map((_, b) => norms(classes, of, mixing, b, params, grads)));
      const { key, slot } = weightsLeaf(of, mixing);
      const shape = [of.members.length, slot];
      const lane = iota(shape, 1);
      const wide = (x: Tensor): Tensor => broadcastTo(reshape(x, [of.members.length, 1]), shape);
      const share = shares.map(wide).reduceRight((rest, s, b) => where(eq(lane, b), s, rest));
      const moved = add(mul(params[key]!, ema), mul(share, 1 - ema));
      next[key] = where(lt(lane, branches.length), minimum(maximum(moved, low), high), 0);
    }
  }
  return next;
}

/** Norm of a branch's gradient for each member, f32[members]. */
function norms(
  classes: readonly ShapeClass[],
  of: ShapeClass,
  mixing: Mixing,
  branch: number,
  params: Arenas,
  grads: Arenas,
): Tensor {
  const own = (c: ShapeClass): { squares: Tensor; count: number } => {
    const leaves = trainedLeaves(c).filter((l) => branchOf(mixing, l.path) === branch);
    const squares = leaves.map((l) => sum(mul(grads[l.key]!, grads[l.key]!), { axes: [1] }))
      .reduce((a, b) => add(a, b));
    // The gradient of a branch that acts at strength λ is λ times that of the branch itself.
    const weight = weightsOf(c, mixing, params, branch);
    return {
      squares: mixing.space === "update" ? squares : div(squares, mul(weight, weight)),
      count: leaves.reduce((n, l) => n + sizeOf(l.aval.shape), 0),
    };
  };
  if (mixing.scope === "module") {
    const { squares, count } = own(of);
    return sqrt(div(squares, count));
  }
  // All maps of a layer under the same adapter, whatever their sizes.
  const layers = layersOf(of);
  const alike = classes.filter((c) => c.mixing.some((m) => isAlike(m, mixing)));
  let total: Tensor | null = null, count = 0;
  for (const c of alike) {
    if (layersOf(c).join() !== layers.join()) continue;
    const each = c.members.length / layers.length;
    const { squares, count: n } = own(c);
    const perLayer = sum(reshape(squares, [layers.length, each]), { axes: [1] });
    total = total ? add(total, perLayer) : perLayer;
    count += each * n;
  }
  const each = of.members.length / layers.length;
  const wide = broadcastTo(reshape(sqrt(div(total!, count)), [layers.length, 1]), [layers.length, each]);
  return reshape(wide, [of.members.length]);
}

/** Whether two mixes are of the same branches, so that maps of a layer can share their weights. */
function isAlike(a: Mixing, b: Mixing): boolean {
  return a.rule === b.rule && a.path === b.path && a.scope === b.scope && a.space === b.space &&
    a.branches.join() === b.branches.join();
}

/** The decoder layers of a class's members, in order. Throws ShapeError unless each layer has equally many, side by side. */
function layersOf({ members }: ShapeClass): string[] {
  const each = members.map((m) => m.match(/^.*?\.(\d+)\./)?.[1] ?? m);
  const layers = [...new Set(each)];
  const count = members.length / layers.length;
  if (each.some((layer, i) => layer !== layers[Math.floor(i / count)])) {
    throw new ShapeError(
      `Cannot share weights within layers: the adapter is on different maps of different layers (${
        members.slice(0, 3).join(", ")
      }, …). Use weights of their own for each map, or the same maps in all layers.`,
    );
  }
  return layers;
}
