/** An operand of a contraction on its way from its buffers through registers into workgroup memory. @module */
import { type Expr, loadsOf, varsOf } from "../ir/expr.ts";
import { ixStride } from "../ir/ix.ts";
import { type ContractForm, extentOf, type Term } from "./kernel.ts";
import { type Module, PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { lanesOf, pitchOf, type Tile } from "./wgsl_tile.ts";

/** One side of one product. */
export interface Operand {
  /** Name of the function that computes its elements. */
  readonly name: string;
  /** Variable of its free axis. */
  readonly free: "m" | "n";
  /** Extents of the free and of the inner axis. */
  readonly extent: number;
  readonly depth: number;
  /** Size of the tile along the free axis, and where the operand begins in workgroup memory, in vectors. */
  readonly size: number;
  readonly base: number;
  /** Whether neighbours along the inner axis are neighbours in memory, rather than along the free axis. */
  readonly isInward: boolean;
  /** One value, or those of four neighbours along the axis that is contiguous in memory. */
  readonly values: readonly Expr[];
}

/** The left or right side of a term. */
export function operandOf(
  body: ContractForm,
  term: Term,
  number: number,
  side: "left" | "right",
  tile: Tile,
): Operand {
  const free = side === "left" ? "m" : "n";
  const extent = extentOf(side === "left" ? body.row : body.col), depth = extentOf(term.inner);
  const lists = { b: body.batch, m: body.row, n: body.col, k: term.inner };
  const isInward = runsInward(new Flat(lists).expr(term[side]), free);
  const lanes = (isInward ? depth : extent) % 4 === 0 ? 4 : 1;
  return {
    name: `${side}${number}`,
    free,
    extent,
    depth,
    size: side === "left" ? tile.rows : tile.cols,
    base: side === "left" ? 0 : tile.depth * pitchOf(tile.rows),
    isInward,
    values: Array.from(
      { length: lanes },
      (_, lane) => new Flat(lists, lanes === 1 ? "" : isInward ? "k" : free, lane).expr(term[side]),
    ),
  };
}

function runsInward(value: Expr, free: string): boolean {
  const loads = loadsOf([value]).filter((l) => varsOf(l).has(free));
  if (loads.some((l) => ixStride(l.ix, "k", varsOf) === 1)) return true;
  return !loads.some((l) => ixStride(l.ix, free, varsOf) === 1);
}

/** Define the function of the operand's elements: `left0(b, m, k)`, or four at a time `left0(b, m, k4)`. */
export function declareOperand(module: Module, { name, free, isInward, values }: Operand): void {
  const isWide = values.length === 4;
  const names = { [free]: isWide && !isInward ? `${free}4` : free, k: isWide && isInward ? "k4" : "k" };
  const inside = new Scope(module, { vars: { b: "b", ...names } });
  const texts = inside.lanes(values.map((v) => [v])).flat();
  module.globals.push(
    `fn ${name}(b: u32, ${names[free]}: u32, ${names.k}: u32) -> ${isWide ? "vec4f" : "f32"} {`,
    ...inside.lines.map((l) => `  ${l}`),
    `  return ${isWide ? `vec4f(${texts.join(", ")})` : texts[0]};`,
    "}",
  );
}

/** Statements that bring one operand from its buffer into registers, and from there into workgroup memory. */
export interface Movement {
  readonly declare: readonly string[];
  readonly fetch: readonly string[];
  readonly put: readonly string[];
}

/** How the invocations of a workgroup share the work of moving an operand's part of a tile. */
export function moveOperand(o: Operand, tile: Tile): Movement {
  const lanes = lanesOf(tile), step = o.values.length;
  const zero = step === 4 ? "vec4f()" : "0.0f";
  const move = { declare: [] as string[], fetch: [] as string[], put: [] as string[] };
  for (let i = 0; i < o.size * tile.depth / step / lanes; i++) {
    const [quick, slow] = place(i, lanes, (o.isInward ? tile.depth : o.size) / step);
    const [k, free] = o.isInward ? [quick, slow] : [slow, quick];
    const register = `${o.name}_${i}`;
    // Both axes in the units of the operand's function: elements, or vectors along the contiguous axis.
    const freeStep = o.isInward ? 1 : step, kStep = o.isInward ? step : 1;
    const freeAt = `${o.free}0${freeStep > 1 ? ` / ${freeStep}u` : ""} + ${free}`;
    const kAt = `k0${kStep > 1 ? ` / ${kStep}u` : ""} + ${k}`;
    const inside = o.extent % o.size === 0 ? freeAt : `min(${freeAt}, ${o.extent / freeStep - 1}u)`;
    const depth = o.depth / kStep;
    move.declare.push(`var ${register}: ${step === 4 ? "vec4f" : "f32"};`);
    move.fetch.push(
      o.depth % tile.depth === 0
        ? `${register} = ${o.name}(b, ${inside}, ${kAt});`
        : `${register} = select(${zero}, ${o.name}(b, ${inside}, min(${kAt}, ${
          depth - 1
        }u)), ${kAt} < ${depth}u);`,
    );
    move.put.push(...put(o, register, k, free));
  }
  return move;
}

function put({ base, size, isInward, values }: Operand, register: string, k: string, free: string): string[] {
  const start = base === 0 ? "" : `${base}u + `, pitch = pitchOf(size);
  if (values.length === 4 && !isInward) return [`tile[${start}(${k}) * ${pitch}u + ${free}] = ${register};`];
  const column = `(${free}) / 4u][(${free}) % 4u]`;
  if (values.length === 1) return [`tile[${start}(${k}) * ${pitch}u + ${column} = ${register};`];
  return PARTS.map((part, i) =>
    `tile[${start}(${k}) * ${4 * pitch}u + ${i * pitch}u + ${column} = ${register}.${part};`
  );
}

/** Position of element `lane + i · lanes` in rows of `width`; all three are powers of two. */
function place(i: number, lanes: number, width: number): [quick: string, slow: string] {
  if (lanes % width === 0) return [`lane % ${width}u`, plus(`lane / ${width}u`, i * (lanes / width))];
  const per = width / lanes;
  return [plus("lane", (i % per) * lanes), `${Math.floor(i / per)}u`];
}

function plus(text: string, n: number): string {
  return n === 0 ? text : `${text} + ${n}u`;
}
