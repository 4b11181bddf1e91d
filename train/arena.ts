/**
 * Arenas: trainable parameters of one shape class lie in one tensor f32[members, slot], so that the optimiser is one
 * kernel a class instead of one a parameter. @module
 */
import { type Aval, aval, type Shape, sizeOf, type Tensor } from "../core/ir/mod.ts";
import type { Fitted, Mixing, Placed, Rate } from "../adapters/mod.ts";
import { pack, reshape, slice } from "../ops/mod.ts";

/** One leaf of a class: the parameters of this path for all members, one row each. */
export interface ArenaLeaf {
  /** Key in the state: unique over all classes. */
  readonly key: string;
  /** Path inside a member's parameters. */
  readonly path: string;
  readonly aval: Aval;
  readonly rate: Rate;
  /** Elements of a row: the parameter's size rounded up, so that every row can be bound on its own. */
  readonly slot: number;
}

/** Members that have the same parameters. */
export interface ShapeClass {
  readonly key: string;
  /** Paths of the adapted maps, or names of the fully trained weights. */
  readonly members: readonly string[];
  readonly leaves: readonly ArenaLeaf[];
  readonly mixing: readonly Mixing[];
  /** How to apply and merge; null for weights that are trained themselves. */
  readonly fitted: Fitted | null;
}

/** Tensors by arena key. */
export type Arenas = Readonly<Record<string, Tensor>>;

/** f32 elements between bindings: 256 bytes. */
const SLOT_UNIT = 64;

function leafOf(key: string, path: string, at: Aval, rate: Rate): ArenaLeaf {
  return { key, path, aval: at, rate, slot: Math.ceil(sizeOf(at.shape) / SLOT_UNIT) * SLOT_UNIT };
}

/** The leaves that are trained: of them there are gradients and optimiser state. */
export function trainedLeaves(of: ShapeClass): ArenaLeaf[] {
  return of.leaves.filter((leaf) => leaf.rate !== "frozen");
}

/** Group adapted maps by placement and sizes. `first` numbers the classes. */
export function classesOf(placed: readonly Placed[], first = 0): ShapeClass[] {
  const groups = new Map<string, Placed[]>();
  for (const p of placed) {
    const key = `${p.placement} ${p.module.inDim} ${p.module.outDim}`;
    groups.set(key, [...(groups.get(key) ?? []), p]);
  }
  return [...groups.values()].map((group, n) => {
    const { fitted } = group[0]!, i = first + n;
    return {
      key: `class${i}`,
      members: group.map((p) => p.module.path),
      leaves: fitted.leaves.map((l, j) => leafOf(`class${i}_${j}`, l.path, l.aval, l.rate)),
      mixing: fitted.mixing,
      fitted,
    };
  });
}

/** Group weights that are trained themselves by shape. `first` numbers the classes. */
export function weightClasses(
  weights: readonly { readonly name: string; readonly aval: Aval }[],
  first = 0,
): ShapeClass[] {
  const groups = new Map<string, { readonly shape: Shape; readonly members: string[] }>();
  for (const { name, aval: { shape } } of weights) {
    const key = shape.join(), group = groups.get(key);
    if (group) group.members.push(name);
    else groups.set(key, { shape, members: [name] });
  }
  return [...groups.values()].map(({ shape, members }, n) => ({
    key: `class${first + n}`,
    members,
    leaves: [leafOf(`class${first + n}_0`, "weight", aval(shape), "plain")],
    mixing: [],
    fitted: null,
  }));
}

/** Aval of a leaf's arena. */
export function arenaAval(of: ShapeClass, leaf: ArenaLeaf): Aval {
  return aval([of.members.length, leaf.slot]);
}

/** The parameters of each member as views of the arenas: member → leaves in order. */
export function unpack(
  classes: readonly ShapeClass[],
  arenas: Readonly<Record<string, Tensor>>,
): Map<string, Tensor[]> {
  const params = new Map<string, Tensor[]>();
  for (const c of classes) {
    c.members.forEach((member, row) => {
      params.set(member, c.leaves.map((leaf) => rowOf(arenas[leaf.key]!, row, leaf)));
    });
  }
  return params;
}

function rowOf(arena: Tensor, row: number, leaf: ArenaLeaf): Tensor {
  const size = sizeOf(leaf.aval.shape);
  return reshape(slice(arena, { start: [row, 0], stop: [row + 1, size] }), leaf.aval.shape);
}

/**
 * Lay values of each member's leaves into arenas, zeros in the gaps: the inverse of {@linkcode unpack}. `values` has a list
 * for each member, in the order of the leaves that `of` gives (default all).
 */
export function packAll(
  classes: readonly ShapeClass[],
  values: ReadonlyMap<string, readonly Tensor[]>,
  of: (c: ShapeClass) => readonly ArenaLeaf[] = (c) => c.leaves,
): Record<string, Tensor> {
  return Object.fromEntries(
    classes.flatMap((c) =>
      of(c).map((
        leaf,
        i,
      ) => [leaf.key, pack(c.members.map((member) => values.get(member)![i]!), leaf.slot)])
    ),
  );
}

/** Number of trained values. */
export function countTrainable(classes: readonly ShapeClass[]): number {
  return classes.reduce(
    (n, c) => n + c.members.length * trainedLeaves(c).reduce((k, l) => k + sizeOf(l.aval.shape), 0),
    0,
  );
}
