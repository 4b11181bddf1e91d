/** Oracle 2: what kernels mean, by plain loops in float64. @module */
import { blockOf, type Combine, type Stage, stageOffsets, stagePosition } from "../ir/lowering.ts";
import { interpretAttention } from "./interpret_attention.ts";
import { Values } from "./interpret_values.ts";
import {
  type ContractForm,
  extentOf,
  type Kernel,
  type RowForm,
  type ScatterForm,
  type SolveForm,
  type StagesForm,
  type StagesGradForm,
} from "./kernel.ts";

/**
 * Run `kernel` over its slots, one array of numbers each, writing results in place: float64 where the slot holds
 * reals, whole numbers (modulo 2³²) where it holds integers. Throws an Error that names kernel, slot and index when a
 * load or store is out of range. Slow.
 */
export function interpret(kernel: Kernel, slots: readonly Float64Array[]): void {
  if (slots.length !== kernel.slots.length) {
    throw new Error(
      `Kernel ${kernel.name} has ${kernel.slots.length} slots and was given ${slots.length} arrays.`,
    );
  }
  const values = new Values(kernel, slots);
  const { body } = kernel;
  switch (body.form) {
    case "row":
      return row(body, values);
    case "contract":
      return contract(body, values);
    case "stages":
      return stages(body, values);
    case "stagesGrad":
      return stagesGrad(body, values);
    case "solve":
      return solve(body, values);
    case "scatter":
      return scatter(body, values);
    case "attention":
      return interpretAttention(body, values);
  }
}

const START: Readonly<Record<Combine, number>> = { add: 0, max: -Infinity };

function row(form: RowForm, values: Values): void {
  const reduces = form.reduces.map((r) => ({ ...r, evaluate: values.evaluator([r.value]) }));
  const storeRow = values.storer(form.rowStores);
  const store = values.storer(form.stores);
  values.each(form.outer, () => {
    for (const { id, inner, combine, evaluate } of reduces) {
      let sum = START[combine];
      values.each(inner, () => {
        const value = evaluate()[0]!;
        sum = combine === "add" ? sum + value : Math.max(sum, value);
      });
      values.accumulators[id] = sum;
    }
    storeRow();
    values.each(form.inner, store);
  });
}

function contract(form: ContractForm, values: Values): void {
  const terms = form.terms.map(({ inner, left, right }) => ({
    inner,
    factors: values.evaluator([left, right]),
  }));
  const store = values.storer(form.stores);
  values.each([...form.batch, ...form.row, ...form.col], () => {
    let sum = 0;
    for (const { inner, factors } of terms) {
      values.each(inner, () => {
        const [left, right] = factors();
        sum += left! * right!;
      });
    }
    values.accumulators[0] = sum;
    store();
  });
}

function stages(form: StagesForm, values: Values): void {
  const d = form.feature.extent;
  const coefficients = coefficientsOf(form, values);
  const offsets = stageOffsets(form.stages, d);
  const load = values.evaluator([form.x]);
  const store = values.storer(form.stores);
  const order = form.stages.map((stage, i) => ({ stage, c: coefficients.subarray(offsets[i]!) }));
  if (form.transposed) order.reverse();
  values.each(form.outer, () => {
    let x: Float64Array = new Float64Array(d);
    values.each([form.feature], (f) => void (x[f] = load()[0]!));
    for (const { stage, c } of order) x = mix(stage, c, x, form.transposed);
    values.each([form.feature], (f) => {
      values.accumulators[0] = x[f]!;
      store();
    });
  });
}

function stagesGrad(form: StagesGradForm, values: Values): void {
  const d = form.feature.extent;
  const coefficients = coefficientsOf(form, values);
  const offsets = stageOffsets(form.stages, d);
  const out = slotOf(values, form.out, offsets.at(-1)!);
  out.fill(0, 0, offsets.at(-1)!);
  const load = values.evaluator([form.x, form.ct]);
  values.each(form.outer, () => {
    const x = new Float64Array(d);
    let ct: Float64Array = new Float64Array(d);
    values.each([form.feature], (f) => {
      const [left, right] = load();
      x[f] = left!;
      ct[f] = right!;
    });
    const entering: Float64Array[] = [x];
    form.stages.forEach((stage, i) => {
      entering.push(mix(stage, coefficients.subarray(offsets[i]!), entering[i]!, false));
    });
    for (let i = form.stages.length - 1; i >= 0; i--) {
      const stage = form.stages[i]!;
      addOuter(stage, ct, entering[i]!, out.subarray(offsets[i]!));
      ct = mix(stage, coefficients.subarray(offsets[i]!), ct, true);
    }
  });
}

/** One stage: `y[pos(n, j)] = Σ_k C[n][j][k] · x[pos(n, k)]`, with C[n][k][j] when `transposed`. */
function mix(stage: Stage, c: Float64Array, x: Float64Array, transposed: boolean): Float64Array {
  const block = blockOf(stage);
  const y = new Float64Array(x.length);
  for (let n = 0; n < x.length / block; n++) {
    for (let j = 0; j < block; j++) {
      let sum = 0;
      for (let k = 0; k < block; k++) {
        const place = transposed ? (n * block + k) * block + j : (n * block + j) * block + k;
        sum += c[place]! * x[stagePosition(stage, n, k)]!;
      }
      y[stagePosition(stage, n, j)] = sum;
    }
  }
  return y;
}

/** `out[n][j][k] += ct[pos(n, j)] · x[pos(n, k)]`. */
function addOuter(stage: Stage, ct: Float64Array, x: Float64Array, out: Float64Array): void {
  const block = blockOf(stage);
  for (let n = 0; n < x.length / block; n++) {
    for (let j = 0; j < block; j++) {
      for (let k = 0; k < block; k++) {
        out[(n * block + j) * block + k]! += ct[stagePosition(stage, n, j)]! * x[stagePosition(stage, n, k)]!;
      }
    }
  }
}

function coefficientsOf(form: StagesForm | StagesGradForm, values: Values): Float64Array {
  const d = form.feature.extent;
  for (const stage of form.stages) {
    const { radix, stride, piece } = stage;
    if (d % (radix * stride * piece) === 0) continue;
    throw new Error(
      `Kernel ${values.kernel.name}: ${d} features are no whole number of groups of radix ${radix} · stride ${stride} · piece ${piece}.`,
    );
  }
  return slotOf(values, form.coefficients, stageOffsets(form.stages, d).at(-1)!);
}

/** The array of a slot of which elements 0 to `needed` − 1 are used. */
function slotOf(values: Values, slot: number, needed: number): Float64Array {
  const array = values.slots[slot]!;
  if (array.length >= needed) return array;
  throw new Error(
    `Kernel ${values.kernel.name} uses s${slot}[${
      needed - 1
    }], but slot ${slot} has ${array.length} elements.`,
  );
}

function solve(form: SolveForm, values: Values): void {
  const n = form.row.extent, width = form.col.extent;
  const loadA = values.evaluator([form.a]), loadB = values.evaluator([form.b]);
  const store = values.storer(form.stores);
  const a = new Float64Array(n * n), x = new Float64Array(n * width);
  values.each(form.batch, () => {
    values.each([form.row, form.inner], (i) => void (a[i] = loadA()[0]!));
    values.each([form.row, form.col], (i) => void (x[i] = loadB()[0]!));
    eliminate(a, x, n, width);
    values.each([form.row, form.col], (i) => {
      values.accumulators[0] = x[i]!;
      store();
    });
  });
}

/** Replace `x` [n, width] by A⁻¹·x, and A by rubble. */
function eliminate(a: Float64Array, x: Float64Array, n: number, width: number): void {
  for (let pivot = 0; pivot < n; pivot++) {
    for (let i = 0; i < n; i++) {
      if (i === pivot) continue;
      const factor = a[i * n + pivot]! / a[pivot * n + pivot]!;
      for (let k = pivot; k < n; k++) a[i * n + k]! -= factor * a[pivot * n + k]!;
      for (let k = 0; k < width; k++) x[i * width + k]! -= factor * x[pivot * width + k]!;
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < width; k++) x[i * width + k]! /= a[i * n + i]!;
  }
}

function scatter(form: ScatterForm, values: Values): void {
  const columns = extentOf(form.column);
  const out = slotOf(values, form.out, form.rows * columns);
  out.fill(0, 0, form.rows * columns);
  const index = values.evaluator([form.index]), value = values.evaluator([form.value]);
  values.each(form.item, () => {
    const at = index()[0]!;
    if (!(at >= 0 && at < form.rows)) {
      throw new Error(
        `Kernel ${values.kernel.name} stores to row ${at} of slot ${form.out}, which has ${form.rows} rows.`,
      );
    }
    values.each(form.column, (column) => {
      out[at * columns + column]! += value()[0]!;
    });
  });
}
