/** Loop variables numbered through by one: what is contiguous in memory gets an index without divisions. @module */
import { type Expr, substitute } from "../ir/expr.ts";
import { type Ix, ixAdd, ixConst, ixScale, ixSubstitute, ixUnravel, ixVar, type Var } from "../ir/ix.ts";
import { extentOf, type Store } from "./kernel.ts";

/** Rewrites indices and values over a form's own variables into ones over flat variables. */
export class Flat {
  readonly #by = new Map<string, Ix>();
  readonly #memo = new Map<Expr, Expr>();

  /**
   * Each list of variables becomes one variable of that name, the last of the list the fastest; for `lane` the
   * variable called `quick` stands for four neighbours, of which this is number `lane`.
   */
  constructor(lists: Readonly<Record<string, readonly Var[]>>, quick = "", lane = 0) {
    for (const [name, vars] of Object.entries(lists)) {
      const extent = extentOf(vars);
      const flat = name !== quick
        ? ixVar({ name, extent })
        : ixAdd(ixScale(ixVar({ name, extent: extent / 4 }), 4), ixConst(lane));
      const index = ixUnravel(flat, vars.map((v) => v.extent));
      vars.forEach((v, i) => this.#by.set(v.name, index[i]!));
    }
  }

  expr(e: Expr): Expr {
    return substitute(e, this.#by, this.#memo);
  }

  store({ slot, ix, value }: Store): Store {
    const of = (e: Expr): Expr => substitute(e, this.#by, this.#memo);
    return { slot, ix: ixSubstitute(ix, this.#by, of), value: this.expr(value) };
  }
}
