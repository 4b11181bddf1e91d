/** An operand of a contraction on its way from its buffers into registers. @module */
import { type Expr, loadsOf, varsOf } from "../ir/expr.ts";
import { ixStride } from "../ir/ix.ts";
import { type ContractForm, extentOf, type Term } from "./kernel.ts";
import { type Module, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";

/** One side of one product. */
export interface Operand {
  /** Name of the function that computes its elements. */
  readonly name: string;
  /** Variable of its free axis. */
  readonly free: "m" | "n";
  /** Extents of the free and of the inner axis. */
  readonly extent: number;
  readonly depth: number;
  /** Size of the tile along the free axis, and along the inner one. */
  readonly size: number;
  readonly step: number;
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
  tile: { readonly rows: number; readonly cols: number; readonly depth: number },
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
    step: tile.depth,
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

/** Registers that hold an operand: full numbers, or halves for matrix units. */
export type Width = "f32" | "f16";

/** The type of the operand's function: one number, or a vector of four. */
function typeOf({ values }: Operand, width: Width): string {
  if (values.length === 1) return width;
  return width === "f32" ? "vec4f" : "vec4<f16>";
}

/** Define the function of the operand's elements: `left0(b, m, k)`, or four at a time `left0(b, m, k4)`. */
export function declareOperand(module: Module, operand: Operand, width: Width = "f32"): void {
  const { name, free, isInward, values } = operand;
  const isWide = values.length === 4;
  const names = { [free]: isWide && !isInward ? `${free}4` : free, k: isWide && isInward ? "k4" : "k" };
  const inside = new Scope(module, { vars: { b: "b", ...names } });
  const full = (): string => {
    const texts = inside.lanes(values.map((v) => [v])).flat();
    const number = isWide ? `vec4f(${texts.join(", ")})` : texts[0]!;
    return width === "f32" ? number : `f16(${number})`;
  };
  const result = isWide && width === "f16" ? inside.halves(values) : full();
  module.globals.push(
    `fn ${name}(b: u32, ${names[free]}: u32, ${names.k}: u32) -> ${typeOf(operand, width)} {`,
    ...inside.lines.map((l) => `  ${l}`),
    `  return ${result};`,
    "}",
  );
}

/** Statements that bring an invocation's share of one operand's part of a tile from its buffers into registers. */
export interface Fetch {
  readonly declare: readonly string[];
  readonly fetch: readonly string[];
  /** The registers, and where they belong: in units of elements, or of vectors along the contiguous axis. */
  readonly parts: readonly { readonly register: string; readonly k: string; readonly free: string }[];
}

/** How the invocations of a workgroup share the work of moving an operand's part of a tile. */
export function fetchOperand(o: Operand, lanes: number, width: Width = "f32"): Fetch {
  const step = o.values.length;
  const type = typeOf(o, width), zero = type === "f32" ? "0.0f" : `${type}()`;
  const move = {
    declare: [] as string[],
    fetch: [] as string[],
    parts: [] as { register: string; k: string; free: string }[],
  };
  for (let i = 0; i < o.size * o.step / step / lanes; i++) {
    const [quick, slow] = place(i, lanes, (o.isInward ? o.step : o.size) / step, width === "f16");
    const [k, free] = o.isInward ? [quick, slow] : [slow, quick];
    const register = `${o.name}_${i}`;
    // Both axes in the units of the operand's function: elements, or vectors along the contiguous axis.
    const freeStep = o.isInward ? 1 : step, kStep = o.isInward ? step : 1;
    const freeAt = `${o.free}0${freeStep > 1 ? ` / ${freeStep}u` : ""} + ${free}`;
    const kAt = `k0${kStep > 1 ? ` / ${kStep}u` : ""} + ${k}`;
    const inside = o.extent % o.size === 0 ? freeAt : `min(${freeAt}, ${o.extent / freeStep - 1}u)`;
    const depth = o.depth / kStep;
    move.declare.push(`var ${register}: ${type};`);
    move.fetch.push(
      o.depth % o.step === 0
        ? `${register} = ${o.name}(b, ${inside}, ${kAt});`
        : `${register} = select(${zero}, ${o.name}(b, ${inside}, min(${kAt}, ${
          depth - 1
        }u)), ${kAt} < ${depth}u);`,
    );
    move.parts.push({ register, k, free });
  }
  return move;
}

/** Rows of this many vectors of halves are short: two of them are written at once. */
const SHORT = 8, ROW = `(lane / ${SHORT}u)`;

/**
 * The statement that names an invocation's short row: rows that are written at once are 4 apart, and with the padding that
 * they have in different banks, which neighbours are not.
 */
export const SHORT_ROW = `let short_row = (${ROW} & ~7u) | ((${ROW} & 1u) << 2u) | ((${ROW} >> 1u) & 3u);`;

/** Position of element `lane + i · lanes` in rows of `width`, short ones swapped; all three are powers of two. */
function place(i: number, lanes: number, width: number, halves: boolean): [quick: string, slow: string] {
  if (lanes % width === 0) {
    const apart = halves && width === SHORT && lanes % (8 * width) === 0 ? "short_row" : `lane / ${width}u`;
    return [`lane % ${width}u`, plus(apart, i * (lanes / width))];
  }
  const per = width / lanes;
  return [plus("lane", (i % per) * lanes), `${Math.floor(i / per)}u`];
}

/** `text`, or `text + n`. */
export function plus(text: string, n: number): string {
  return n === 0 ? text : `${text} + ${n}u`;
}
