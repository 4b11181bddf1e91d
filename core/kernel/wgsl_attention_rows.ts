/** Functions with which attention on matrix units reads and writes its buffers. @module */
import type { Expr } from "../ir/expr.ts";
import type { Var } from "../ir/ix.ts";
import type { AttentionResult } from "../ir/lowering.ts";
import { type AttentionForm, passOf } from "./kernel.ts";
import { type Module, PARTS, Scope } from "./wgsl_expr.ts";
import { Flat } from "./wgsl_flat.ts";
import { type Access, four, wideSlots } from "./wgsl_wide.ts";

/** Functions that read and write a form's buffers; rows of queries are counted over batch, head and group. */
export class Rows {
  readonly #accesses: Access[] = [];
  readonly #declare: (() => void)[] = [];

  constructor(readonly module: Module, readonly body: AttentionForm) {}

  /** `name(b, m, k4)`: four neighbours of a row of queries or keys, as halves. */
  operand(name: string, value: Expr, side: "query" | "key"): void {
    const values = four((lane) => [new Flat(this.#lists(side), "k", lane).expr(value)]);
    this.#accesses.push({ values });
    this.#declare.push(() => {
      const inside = new Scope(this.module, { vars: { b: "b", m: "m", k: "k4" } });
      const result = inside.halves(values.flat());
      this.#function(
        `fn ${name}(b: u32, m: u32, k4: u32) -> vec4<f16>`,
        inside,
        `return ${result};`,
      );
    });
  }

  /** `name(b, m)`: a number of a row; of a segment `b` is the batch alone. */
  number(name: string, value: Expr, side: "query" | "key", isSegment = false): void {
    const { k: _, ...lists } = this.#lists(side);
    const flat = new Flat(isSegment ? { ...lists, b: [this.body.batch] } : lists).expr(value);
    this.#accesses.push({ values: [[flat]] });
    this.#declare.push(() => {
      const inside = new Scope(this.module, { vars: { b: "b", m: "m" } });
      const text = inside.value(flat);
      this.#function(`fn ${name}(b: u32, m: u32) -> ${flat.type}`, inside, `return ${text};`);
    });
  }

  /** `put_…(b, m, k4, sum)` stores four neighbours of a result, or `put_logSumExp(b, m, sum)` one number. */
  result(result: AttentionResult): void {
    const store = this.body.stores.find((s) => s.result === result);
    if (!store) return;
    const { k, ...lists } = this.#lists(passOf(result) === "keys" ? "key" : "query");
    const isRow = result === "logSumExp";
    const stores = isRow
      ? [[new Flat(lists).store(store)]]
      : four((lane) => [new Flat({ ...lists, k }, "k", lane).store(store)]);
    this.#accesses.push({ values: stores.map(() => []), stores });
    this.#declare.push(() => {
      const sum = isRow ? "sum" : PARTS.map((part) => `sum.${part}`);
      const vars = { b: "b", m: "m", ...(isRow ? {} : { k: "k4" }) };
      const inside = new Scope(this.module, { vars, accs: new Map([[0, sum]]) });
      inside.line(...inside.storing(stores));
      const params = isRow ? "sum: f32" : "k4: u32, sum: vec4f";
      this.#function(`fn put_${result}(b: u32, m: u32, ${params})`, inside);
    });
  }

  /** `segment_of_query(b, m)` and `segment_of_key(b, m)`, where scores have segments. */
  segments(): void {
    const { segments } = this.body;
    if (!segments) return;
    this.number("segment_of_query", segments[0], "query", true);
    this.number("segment_of_key", segments[1], "key", true);
  }

  /** Write them all, once it is known which buffers are accessed in vectors. */
  declare(): void {
    this.module.wide = wideSlots(this.module.kernel, this.#accesses);
    for (const write of this.#declare) write();
  }

  #lists(side: "query" | "key"): { b: Var[]; m: Var[]; k: Var[] } {
    const { batch, head, group, query, key, feature } = this.body;
    return side === "query"
      ? { b: [batch, head, group], m: [query], k: [feature] }
      : { b: [batch, head], m: [key], k: [feature] };
  }

  #function(head: string, inside: Scope, ...end: string[]): void {
    this.module.globals.push(`${head} {`, ...[...inside.lines, ...end].map((l) => `  ${l}`), "}");
  }
}
