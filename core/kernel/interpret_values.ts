/** Evaluation of kernel expressions in float64: each distinct node once per element. @module */
import { type Expr, nodesOf, type ScalarFn, scalarFns, type ScalarType } from "../ir/expr.ts";
import type { Atom, Cond, Ix, Var } from "../ir/ix.ts";
import type { Kernel, Store } from "./kernel.ts";

/** A loop variable's current value. */
interface Cell {
  value: number;
}

/** Evaluates expressions of one kernel over its slots, loop variables and accumulators. */
export class Values {
  /** Accumulators by their number. */
  readonly accumulators: number[] = [];
  readonly #cells = new Map<string, Cell>();

  constructor(readonly kernel: Kernel, readonly slots: readonly Float64Array[]) {}

  /** Run `body` for all values of `vars`, the last one fastest; `place` counts up from 0. */
  each(vars: readonly Var[], body: (place: number) => void): void {
    let place = 0;
    const loop = (axis: number): void => {
      const v = vars[axis];
      if (!v) return body(place++);
      const cell = this.#cell(v.name);
      for (cell.value = 0; cell.value < v.extent; cell.value++) loop(axis + 1);
    };
    loop(0);
  }

  /** A function that gives the values of `roots` now; its result is overwritten by the next call. */
  evaluator(roots: readonly Expr[]): () => Float64Array {
    const nodes = nodesOf(roots);
    const place = new Map(nodes.map((e, i) => [e, i]));
    const registers = new Float64Array(nodes.length);
    const rules = nodes.map((e) => this.#rule(e, (arg) => place.get(arg)!, registers));
    const results = roots.map((e) => place.get(e)!);
    const out = new Float64Array(roots.length);
    return () => {
      for (let i = 0; i < rules.length; i++) registers[i] = rules[i]!();
      for (let i = 0; i < results.length; i++) out[i] = registers[results[i]!]!;
      return out;
    };
  }

  /** A function that does all `stores` at once: every value is known before the first is written. */
  storer(stores: readonly Store[]): () => void {
    const evaluate = this.evaluator(stores.map((s) => s.value));
    const places = stores.map((s) => this.#ix(s.ix));
    return () => {
      const values = evaluate();
      const at = places.map((place) => place());
      stores.forEach(({ slot }, i) => {
        this.#check("stores to", slot, at[i]!);
        const { dtype } = this.kernel.slots[slot]!;
        const isReal = dtype === "f32" || dtype === "f16" || dtype === "bf16";
        this.slots[slot]![at[i]!] = isReal ? values[i]! : convert(values[i]!, dtype);
      });
    };
  }

  #cell(name: string): Cell {
    let cell = this.#cells.get(name);
    if (!cell) this.#cells.set(name, cell = { value: Number.NaN });
    return cell;
  }

  #rule(e: Expr, place: (arg: Expr) => number, registers: Float64Array): () => number {
    switch (e.kind) {
      case "const":
        return () => e.value;
      case "index":
        return this.#ix(e.ix);
      case "load":
        return this.#load(e);
      case "acc":
        return () => {
          const value = this.accumulators[e.id];
          if (value === undefined) {
            throw new Error(`Kernel ${this.kernel.name} uses accumulator ${e.id} before it is known.`);
          }
          return value;
        };
      case "call": {
        const { eval: fn }: ScalarFn = scalarFns[e.fn];
        const isInteger = e.type === "i32" || e.type === "u32";
        // A product of two integers can need 64 bits, more than float64 keeps.
        const f = isInteger && e.fn === "mul" ? Math.imul : fn;
        const args = e.args.map(place);
        const apply = () => f(registers[args[0]!]!, registers[args[1]!]!, registers[args[2]!]!);
        return isInteger ? () => convert(apply(), e.type) : apply;
      }
    }
  }

  #load({ slot, ix, valid, type }: Extract<Expr, { kind: "load" }>): () => number {
    const at = this.#ix(ix);
    const holds = valid.map((c) => this.#holds(c));
    return () => {
      if (!holds.every((hold) => hold())) return 0;
      const i = at();
      this.#check("loads", slot, i);
      return convert(this.slots[slot]![i]!, type);
    };
  }

  #holds({ ix, lo, hi }: Cond): () => boolean {
    const value = this.#ix(ix);
    return () => {
      const i = value();
      return lo <= i && i < hi;
    };
  }

  #ix({ constant, terms }: Ix): () => number {
    const parts = terms.map(({ coef, atom }) => ({ coef, value: this.#atom(atom) }));
    return () => {
      let sum = constant;
      for (const { coef, value } of parts) sum += coef * value();
      return sum;
    };
  }

  #atom(atom: Atom): () => number {
    switch (atom.kind) {
      case "var": {
        const cell = this.#cell(atom.name);
        return () => cell.value;
      }
      case "div": {
        const of = this.#ix(atom.of);
        return () => Math.floor(of() / atom.by);
      }
      case "mod": {
        const of = this.#ix(atom.of);
        return () => ((of() % atom.by) + atom.by) % atom.by;
      }
      case "value": {
        const of = this.evaluator([atom.of]);
        return () => {
          const i = Math.trunc(of()[0]!);
          if (i >= 0 && i <= atom.hi) return i;
          throw new Error(
            `Kernel ${this.kernel.name} reads index ${i} from memory; expected 0 to ${atom.hi}.`,
          );
        };
      }
    }
  }

  #check(does: string, slot: number, i: number): void {
    const size = this.slots[slot]!.length;
    if (i >= 0 && i < size) return;
    throw new Error(
      `Kernel ${this.kernel.name} ${does} s${slot}[${i}], but slot ${slot} has ${size} elements.`,
    );
  }
}

/** `value` as a number of this type; reals stay float64. */
function convert(value: number, type: ScalarType): number {
  switch (type) {
    case "f32":
      return value;
    case "i32":
      return Math.trunc(value) | 0;
    case "u32":
      return Math.trunc(value) >>> 0;
    case "bool":
      return value ? 1 : 0;
  }
}
