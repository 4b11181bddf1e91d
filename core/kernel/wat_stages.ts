/**
 * Stages and their gradient in WebAssembly. Features mix only inside groups, so a few groups of 8 rows at a time go
 * through all stages in scratch memory. @module
 */
import type { Expr } from "../ir/expr.ts";
import { ixVar, type Var } from "../ir/ix.ts";
import { blockOf, type Stage, stageOffsets } from "../ir/lowering.ts";
import type { StagesForm, StagesGradForm } from "./kernel.ts";
import { get, i32, times } from "./wat_code.ts";
import type { Values } from "./wat_expr.ts";
import {
  costOf,
  type Cut,
  flatten,
  laneAddress,
  laneLoop,
  type Range,
  Renaming,
  smaller,
  units,
} from "./wat_loops.ts";
import { packMatrix, packPanels } from "./wat_pack.ts";
import { TILE_COLS } from "./wat_tile.ts";

/** Features that are worth a unit: of stages, whose units read and write neighbours, and of their gradient, which has few units. */
const MIN_FEATURES = { stages: 128, stagesGrad: 64 };
/** Bytes of a position: 8 rows. */
const POSITION = 4 * TILE_COLS;

/** Smallest number of features that the stages keep among themselves, at least `least` where d allows. */
function groupOf(stages: readonly Stage[], d: number, least: number): number {
  if (d % 4 !== 0) return d;
  const isClosed = (n: number): boolean => stages.every((s) => n % (s.radix * s.stride * s.piece) === 0);
  for (let n = Math.min(d, least); n < d; n++) {
    if (n % 4 === 0 && d % n === 0 && isClosed(n)) return n;
  }
  return d;
}

/** The stages on one group, printed with what stays the same for a kernel. */
class Mixer {
  readonly group: number;
  readonly #offsets: readonly number[];
  /** Bytes for coefficients that have to become f32 first. */
  readonly coefficientBytes: number;

  constructor(
    readonly values: Values,
    readonly form: StagesForm | StagesGradForm,
    /** Where those coefficients go. */
    readonly scratch: string,
  ) {
    const d = form.feature.extent;
    this.group = groupOf(form.stages, d, MIN_FEATURES[form.form]);
    this.#offsets = stageOffsets(form.stages, d);
    const isF32 = values.slots[form.coefficients]!.dtype === "f32";
    this.coefficientBytes = isF32 ? 0 : 4 * this.group * form.stages.reduce((n, s) => n + blockOf(s), 0);
  }

  /** Number of the first coefficient of stage `i` in the group that begins at feature `from`. */
  first(i: number, from: string): string {
    return `(i32.add ${i32(this.#offsets[i]!)} ${times(from, blockOf(this.form.stages[i]!))})`;
  }

  /** Address of the coefficients of each stage for the group at `from`, as f32. */
  coefficients(from: string): string[] {
    const { values, form } = this, { fn } = values;
    if (this.coefficientBytes === 0) {
      return form.stages.map((_, i) =>
        fn.keep(
          "i32",
          `(i32.add ${get(`$s${form.coefficients}`)} (i32.shl ${this.first(i, from)} ${i32(2)}))`,
        )
      );
    }
    let to = 0;
    return form.stages.map((stage, i) => {
      const count = this.group * blockOf(stage);
      const v: Var = { name: "coefficient'", extent: this.#offsets.at(-1)! };
      const begin = fn.keep("i32", this.first(i, from));
      const load: Expr = { kind: "load", type: "f32", slot: form.coefficients, ix: ixVar(v), valid: [] };
      const address = fn.keep("i32", `(i32.add ${this.scratch} ${i32(to)})`);
      to += 4 * count;
      const once = { v: { name: "once'", extent: 1 }, range: { from: i32(0), to: i32(1) } };
      const range = { from: begin, to: fn.keep("i32", `(i32.add ${begin} ${i32(count)})`) };
      packMatrix(values, load, once, { v, range }, address, 0);
      return address;
    });
  }

  /** Line that applies stage `i` (or its transpose) to the group at `x`, giving `y`. */
  stage(i: number, x: string, y: string, coefficients: string, transposed: boolean): void {
    const name = transposed ? "stageTransposed" : "stage", { fn } = this.values;
    fn.calls.add(name);
    fn.line(`(call $${name} ${x} ${y} ${coefficients} ${this.shape(this.form.stages[i]!)})`);
  }

  /** Arguments that say which blocks: their number, radix, stride and piece. */
  shape(stage: Stage): string {
    return [this.group / blockOf(stage), stage.radix, stage.stride, stage.piece].map(i32).join(" ");
  }

  /** Vector instructions for all rows. */
  work(rows: number): number {
    const d = this.form.feature.extent;
    return rows * d / 4 * this.form.stages.reduce((n, s) => n + blockOf(s), costOf([this.form.x]));
  }
}

/** The 8 rows of panel number `panel`. */
function panelRows(values: Values, panel: string, extent: number): Range {
  const from = values.fn.keep("i32", times(panel, TILE_COLS));
  return { from, to: values.fn.keep("i32", smaller(`(i32.add ${from} ${i32(TILE_COLS)})`, i32(extent))) };
}

/** Print a stages kernel. */
export function printStages(form: StagesForm, values: Values): Cut {
  const { fn } = values;
  const row = flatten(form.outer, "row'"), renaming = new Renaming(row.places);
  const x = renaming.expr(form.x), stores = renaming.stores(form.stores);
  const mixer = new Mixer(values, form, fn.keep("i32", get("$scratch")));
  const { group } = mixer, groups = form.feature.extent / group, groupBytes = group * POSITION;
  const at = [0, 1].map((i) =>
    fn.keep("i32", `(i32.add ${get("$scratch")} ${i32(mixer.coefficientBytes + i * groupBytes)})`)
  );
  fn.loop("unit'", units.from, units.to, () => {
    const unit = fn.variable("unit'");
    const rows = panelRows(values, `(i32.div_u ${unit} ${i32(groups)})`, row.v.extent);
    const from = fn.keep("i32", times(`(i32.rem_u ${unit} ${i32(groups)})`, group));
    const features = { from, to: fn.keep("i32", `(i32.add ${from} ${i32(group)})`) };
    const along = { v: form.feature, range: features };
    packPanels(values, x, { v: row.v, range: rows }, along, at[0]!, groupBytes);
    const coefficients = mixer.coefficients(from);
    const order = form.stages.map((_, i) => i);
    if (form.transposed) order.reverse();
    order.forEach((i, n) => mixer.stage(i, at[n % 2]!, at[1 - n % 2]!, coefficients[i]!, form.transposed));
    const result = at[order.length % 2]!;
    const origin = fn.keep("i32", `(i32.sub ${result} (i32.mul ${from} ${i32(POSITION)}))`);
    fn.loop(row.v.name, rows.from, rows.to, () => {
      const column = fn.keep(
        "i32",
        `(i32.add ${origin} (i32.shl (i32.sub ${fn.variable(row.v.name)} ${rows.from}) ${i32(2)}))`,
      );
      laneLoop(values, form.feature, (lanes) => {
        const place = fn.keep("i32", laneAddress(values, column, form.feature, POSITION, lanes));
        const code = lanes
          ? fn.keep(
            "v128",
            [1, 2, 3].reduce(
              (v, l) => `(v128.load32_lane offset=${l * POSITION} ${l} ${place} ${v})`,
              `(v128.load32_zero ${place})`,
            ),
          )
          : fn.keep("f32", `(f32.load ${place})`);
        values.setAccumulator(0, code, [row.v.name, form.feature.name]);
        values.store(stores, lanes);
      }, features);
    });
  });
  return {
    units: Math.ceil(row.v.extent / TILE_COLS) * groups,
    scratchBytes: mixer.coefficientBytes + 2 * groupBytes,
    work: mixer.work(row.v.extent),
  };
}

/** Print a kernel of the coefficients' cotangent. A unit has its features to itself and takes all rows in order. */
export function printStagesGrad(form: StagesGradForm, values: Values): Cut {
  const { fn } = values, { stages } = form;
  const row = flatten(form.outer, "row'"), renaming = new Renaming(row.places);
  const x = renaming.expr(form.x), ct = renaming.expr(form.ct);
  const mixer = new Mixer(values, form, fn.keep("i32", get("$scratch")));
  const { group } = mixer, groupBytes = group * POSITION;
  let used = mixer.coefficientBytes;
  const reserve = (bytes: number): string => {
    const at = fn.keep("i32", `(i32.add ${get("$scratch")} ${i32(used)})`);
    used += bytes;
    return at;
  };
  const entering = stages.map(() => reserve(groupBytes));
  const leaving = [reserve(groupBytes), reserve(groupBytes)];
  const sums = stages.map((s) => reserve(16 * group * blockOf(s)));
  const sumBytes = 16 * group * stages.reduce((n, s) => n + blockOf(s), 0);
  for (const name of ["outer", "fold", "blank"]) fn.calls.add(name);
  fn.loop("unit'", units.from, units.to, () => {
    const from = fn.keep("i32", times(fn.variable("unit'"), group));
    const along = { v: form.feature, range: { from, to: fn.keep("i32", `(i32.add ${from} ${i32(group)})`) } };
    const coefficients = mixer.coefficients(from);
    fn.line(`(memory.fill ${sums[0]!} ${i32(0)} ${i32(sumBytes)})`);
    fn.count("panel'", Math.ceil(row.v.extent / TILE_COLS), () => {
      const rows = panelRows(values, fn.variable("panel'"), row.v.extent);
      const across = { v: row.v, range: rows };
      const count = fn.keep("i32", `(i32.sub ${rows.to} ${rows.from})`);
      for (const [value, to] of [[x, entering[0]!], [ct, leaving[0]!]] as const) {
        packPanels(values, value, across, along, to, groupBytes);
        if (row.v.extent % TILE_COLS === 0) continue;
        fn.when(
          `(i32.lt_u ${count} ${i32(TILE_COLS)})`,
          () => fn.line(`(call $blank ${to} ${i32(group)} ${count})`),
        );
      }
      for (let i = 0; i + 1 < stages.length; i++) {
        mixer.stage(i, entering[i]!, entering[i + 1]!, coefficients[i]!, false);
      }
      for (let i = stages.length - 1, n = 0; i >= 0; i--, n++) {
        fn.line(`(call $outer ${entering[i]!} ${leaving[n % 2]!} ${sums[i]!} ${mixer.shape(stages[i]!)})`);
        if (i > 0) mixer.stage(i, leaving[n % 2]!, leaving[1 - n % 2]!, coefficients[i]!, true);
      }
    });
    stages.forEach((stage, i) => {
      const out = `(i32.add ${get(`$s${form.out}`)} (i32.shl ${mixer.first(i, from)} ${i32(2)}))`;
      fn.line(`(call $fold ${sums[i]!} ${out} ${i32(group * blockOf(stage))})`);
    });
  });
  return { units: form.feature.extent / group, scratchBytes: used, work: 3 * mixer.work(row.v.extent) };
}
