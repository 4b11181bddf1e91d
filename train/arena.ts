/**
 * Arenas: trainable parameters of one shape class lie in one tensor f32[members, slot], so that the optimiser is one
 * kernel a class instead of one a parameter. @module
 */
import { cotangents } from "../core/diff/mod.ts";
import { type Aval, aval, fill, type Shape, sizeOf, type Tensor } from "../core/ir/mod.ts";
import type { Fitted, Mixing, Placed, Rate } from "../adapters/mod.ts";
import { add, pack, pad, reshape, slice } from "../ops/mod.ts";

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
export const SLOT_UNIT = 64;

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

/** Parameters of all members, each followed by what is derived from it; and the way of gradients back to the arenas. */
export interface Bound {
  /** member → parameters and derived tensors, as `Fitted.apply` takes them. */
  readonly members: ReadonlyMap<string, readonly Tensor[]>;
  /** Tensors for which gradients are wanted. */
  readonly wrt: readonly Tensor[];
  /** Gradient arenas of the trained leaves from the cotangents of `wrt`; null: none flows. */
  readonly gather: (cts: readonly (Tensor | null)[]) => Record<string, Tensor>;
}

/**
 * Members' parameters as views of the arenas, and what each adapter derives from them, computed for a whole class at
 * once; gradients go the same way back.
 */
export function bind(classes: readonly ShapeClass[], arenas: Arenas): Bound {
  const params = unpack(classes, arenas);
  const members = new Map<string, readonly Tensor[]>(params);
  const wrt: Tensor[] = [];
  const ways: ((cts: readonly (Tensor | null)[], next: () => number) => [string, Tensor][])[] = [];
  for (const c of classes) {
    const n = c.members.length;
    const trained = c.leaves.map((leaf, i) => ({ leaf, i })).filter(({ leaf }) => leaf.rate !== "frozen");
    const stacks = c.leaves.map((leaf) => stackOf(arenas[leaf.key]!, n, leaf.slot, leaf.aval));
    const derived = c.fitted?.derived ?? [];
    const stacked = derived.length > 0 ? c.fitted!.derive(stacks) : [];
    const slots = derived.map(({ aval: at }) => leafOf("", "", at, "plain").slot);
    const rows = stacked.map((x, d) => intoSlots(x, slots[d]!));
    c.members.forEach((member, row) => {
      const own = params.get(member)!;
      const further = rows.map((arena, d) => rowOf(arena, row, { aval: derived[d]!.aval }));
      members.set(member, [...own, ...further]);
      wrt.push(...trained.map(({ i }) => own[i]!), ...further);
    });
    ways.push((cts, next) => {
      const each = c.members.map(() => [...trained, ...derived].map(() => cts[next()] ?? null));
      /** Cotangents of one tensor of all members, laid into slots. */
      const together = (j: number, at: Aval, slot: number): Tensor | null =>
        each.every((list) => list[j] === null)
          ? null
          : pack(each.map((list) => list[j] ?? fill(0, at.shape)), slot);
      const back = derived.map((leaf, d) => together(trained.length + d, leaf.aval, slots[d]!));
      const flowing = stacked.flatMap((y, d) =>
        back[d] ? [{ y, ct: stackOf(back[d], n, slots[d]!, derived[d]!.aval) }] : []
      );
      const pulled = flowing.length > 0
        ? cotangents(flowing.map((f) => f.y), flowing.map((f) => f.ct), trained.map(({ i }) => stacks[i]!))
        : trained.map(() => null);
      return trained.map(({ leaf }, j) => {
        const direct = together(j, leaf.aval, leaf.slot);
        const by = pulled[j] ? intoSlots(pulled[j], leaf.slot) : null;
        const total = direct && by ? add(direct, by) : direct ?? by;
        return [leaf.key, total ?? fill(0, [n, leaf.slot])];
      });
    });
  }
  return {
    members,
    wrt,
    gather: (cts) => {
      let at = 0;
      return Object.fromEntries(ways.flatMap((way) => way(cts, () => at++)));
    },
  };
}

/** An arena [members, slot] as one tensor [members, ...shape]. */
function stackOf(arena: Tensor, members: number, slot: number, { shape }: Aval): Tensor {
  const size = sizeOf(shape);
  const rows = size === slot ? arena : slice(arena, { start: [0, 0], stop: [members, size] });
  return reshape(rows, [members, ...shape]);
}

/** [members, ...shape] as an arena [members, slot], zeros behind. */
function intoSlots(x: Tensor, slot: number): Tensor {
  const members = x.shape[0]!, size = sizeOf(x.shape.slice(1));
  const rows = reshape(x, [members, size]);
  return size === slot ? rows : pad(rows, { before: [0, 0], after: [0, slot - size] });
}

function rowOf(arena: Tensor, row: number, leaf: Pick<ArenaLeaf, "aval">): Tensor {
  const size = sizeOf(leaf.aval.shape);
  return reshape(slice(arena, { start: [row, 0], stop: [row + 1, size] }), leaf.aval.shape);
}

/** Lay values of each member's leaves into arenas: the inverse of {@linkcode unpack}, zeros in the gaps. */
export function packAll(
  classes: readonly ShapeClass[],
  values: ReadonlyMap<string, readonly Tensor[]>,
): Record<string, Tensor> {
  return Object.fromEntries(
    classes.flatMap((c) =>
      c.leaves.map((
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
