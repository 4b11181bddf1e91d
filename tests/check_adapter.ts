/** The laws of an adapter, checked on one row of {@linkcode adapterRows}. @module */
import { assert, assertEquals } from "@std/assert";
import { baseMap, type Fitted, type LinearDims, type LinearMap, type Site, siteOf } from "../adapters/mod.ts";
import {
  aval,
  bytesOf,
  compileTraced,
  type Device,
  evaluate,
  evaluateProgram,
  fill,
  gradients,
  input,
  linearise,
  sizeOf,
  type Tensor,
} from "../core/mod.ts";
import { concat, key, mul, reshape, slice, sum } from "../ops/mod.ts";
import type { AdapterRow } from "./adapter_rows.ts";
import { difference, numbersOf, rowNorms, singularValues, timesTransposed } from "./matrix.ts";
import { runOnce } from "./run_once.ts";

const TOKENS = 5;
const SEED = key(7);

/** An adapted map on random numbers: its graph's inputs and their values. */
export interface Sample {
  readonly x: Tensor;
  readonly w: Tensor;
  readonly base: LinearMap;
  readonly site: Site;
  readonly params: readonly Tensor[];
  /** The parameters that are trained. */
  readonly trained: readonly Tensor[];
  readonly given: ReadonlyMap<Tensor, Float64Array>;
}

/** Inputs with numbers in −1…1; trained parameters in ±`spread`, frozen ones as they start. */
export function sampleOf(fitted: Fitted, { inDim, outDim }: LinearDims, seed: number, spread = 0.7): Sample {
  const x = input(aval([TOKENS, inDim]), "x"), w = input(aval([outDim, inDim]), "w");
  const factors = fitted.asks.map(({ columns }, i) => ({
    u: input(aval([outDim, columns]), `u${i}`),
    s: input(aval([columns]), `s${i}`),
    v: input(aval([inDim, columns]), `v${i}`),
  }));
  const site = siteOf(w, factors);
  const outside = [x, w, ...factors.flatMap((f) => [f.u, f.s, f.v])];
  // Singular values are positive.
  const fixed = new Map(outside.map((t, i) => [
    t,
    numbersOf(sizeOf(t.shape), seed + 101 * i).map((v) => (t.shape.length === 1 ? 1 + Math.abs(v) : v)),
  ]));
  const start = evaluate(fitted.init(SEED, site), fixed);
  const params = fitted.leaves.map((leaf) => input(leaf.aval, leaf.path));
  const numbers = fitted.leaves.map((leaf, i) =>
    leaf.rate === "frozen"
      ? start[i]!
      : numbersOf(sizeOf(leaf.aval.shape), seed + 101 * (2 + i)).map((v) => spread * v)
  );
  return {
    x,
    w,
    site,
    params,
    trained: params.filter((_, i) => fitted.leaves[i]!.rate !== "frozen"),
    base: baseMap(w),
    given: new Map([...fixed, ...params.map((t, i) => [t, numbers[i]!] as const)]),
  };
}

function requireSmall(what: string, found: number, most: number): void {
  assert(found <= most, `${what}: off by ${found}, at most ${most} is allowed.`);
}

/** The adapted map starts as the base map. */
export function checkStart({ fit, dims }: AdapterRow): void {
  const fitted = fit(dims);
  const { x, base, w, site, given } = sampleOf(fitted, dims, 1);
  const start = fitted.init(SEED, site);
  const [y, y0, merged] = evaluate([fitted.apply(start, base)(x), base(x), fitted.merge(start, w)], given);
  requireSmall("identity at the start", difference(y!, y0!), 1e-12);
  requireSmall("merged weight at the start", difference(merged!, given.get(w)!), 1e-12);
}

/** Parameters are as many as the closed form says, at several sizes; `init` has the shapes that `leaves` lists. */
export function checkCount({ fit, dims, parameters }: AdapterRow): void {
  for (const times of [1, 2, 3]) {
    const at = { inDim: times * dims.inDim, outDim: dims.outDim + times - 1 };
    const fitted = fit(at);
    const trained = fitted.leaves.filter((leaf) => leaf.rate !== "frozen");
    assertEquals(trained.reduce((n, leaf) => n + sizeOf(leaf.aval.shape), 0), parameters(at));
    assertEquals(
      fitted.init(SEED, sampleOf(fitted, at, 1).site).map((t) => t.shape),
      fitted.leaves.map((leaf) => leaf.aval.shape),
    );
  }
}

/** apply(p, x ↦ x·Wᵀ)(x) = x·merge(p, W)ᵀ in float64, and that random parameters do change the map. */
export function checkMerge({ fit, dims, parameters }: AdapterRow): void {
  const fitted = fit(dims);
  const { x, w, base, params, given } = sampleOf(fitted, dims, 2);
  const [y, merged, y0] = evaluate([fitted.apply(params, base)(x), fitted.merge(params, w), base(x)], given);
  requireSmall("merge law", difference(y!, timesTransposed(given.get(x)!, merged!, dims.inDim)), 1e-12);
  if (parameters(dims) > 0) assert(difference(y!, y0!) > 1e-3, "the parameters change nothing.");
}

/** unmerge(p, merge(p, W)) = W, where there is an inverse; the row says whether there is. */
export function checkUnmerge({ fit, dims, isInvertible }: AdapterRow): void {
  const fitted = fit(dims);
  assertEquals(fitted.unmerge !== null, isInvertible);
  if (!fitted.unmerge) return;
  const { w, params, given } = sampleOf(fitted, dims, 2, 0.2);
  const [back] = evaluate([fitted.unmerge(params, fitted.merge(params, w))], given);
  requireSmall("unmerge law", difference(back!, given.get(w)!), 1e-10);
}

/** Derived tensors change nothing, and those of two maps at once are those of each. */
export function checkDerived({ fit, dims }: AdapterRow): void {
  const fitted = fit(dims);
  const one = sampleOf(fitted, dims, 8), two = sampleOf(fitted, dims, 9);
  const stacks = one.params.map((p, i) =>
    concat([p, two.params[i]!].map((t) => reshape(t, [1, ...t.shape])), 0)
  );
  const derived = fitted.derive(stacks);
  assertEquals(derived.map((d) => d.shape), fitted.derived.map((leaf) => [2, ...leaf.aval.shape]));
  const given = new Map([...one.given, ...two.given]);
  for (const [place, { x, base, params }] of [one, two].entries()) {
    const own = derived.map((d, i) => {
      const rest = d.shape.slice(1).map(() => 0);
      const row = slice(d, { start: [place, ...rest], stop: [place + 1, ...d.shape.slice(1)] });
      return reshape(row, fitted.derived[i]!.aval.shape);
    });
    const [y, z] = evaluate(
      [fitted.apply(params, base)(x), fitted.apply([...params, ...own], base)(x)],
      given,
    );
    requireSmall("law of derived tensors", difference(z!, y!), 1e-12);
  }
}

/** Gradients of every leaf, and of x, against central differences along random directions. */
export function checkGradients({ fit, dims, holdsNorms }: AdapterRow): void {
  // What counts as a constant in derivatives is none for differences: those rows have a test of their own.
  if (holdsNorms) return;
  const fitted = fit(dims);
  const { x, base, params, trained, given } = sampleOf(fitted, dims, 3);
  const y = fitted.apply(params, base)(x);
  const weights = input(y.aval, "weights");
  const inputs = [...given.keys(), weights];
  const numbers = [...given.values(), numbersOf(sizeOf(y.shape), 5)];
  const loss = sum(mul(y, weights), { axes: [0, 1] });
  const wrt = [x, ...trained];
  const grads = evaluateProgram(linearise(inputs, gradients([loss], [fill(1)], wrt)), numbers);
  const forward = linearise(inputs, [loss]);
  const step = 1e-4;
  wrt.forEach((leaf, i) => {
    const at = inputs.indexOf(leaf);
    for (const seed of [11, 12, 13]) {
      const direction = numbersOf(sizeOf(leaf.shape), seed);
      const value = (t: number): number => {
        const moved = numbers.map((v, j) => (j === at ? v.map((p, k) => p + t * direction[k]!) : v));
        return evaluateProgram(forward, moved)[0]![0]!;
      };
      const expected = (value(step) - value(-step)) / (2 * step);
      const found = grads[i]!.reduce((total, g, k) => total + g * direction[k]!, 0);
      requireSmall(
        `gradient of ${leaf.params}`,
        Math.abs(found - expected) / Math.max(1, Math.abs(expected)),
        1e-6,
      );
    }
  });
}

/** Orthogonal adapters keep the weight's singular values and the norms of what they rotate. */
export function checkOrthogonal({ fit, dims, isOrthogonal }: AdapterRow): void {
  if (!isOrthogonal) return;
  const fitted = fit(dims);
  const { x, w, params, given } = sampleOf(fitted, dims, 4, 2);
  const [merged, rotated] = evaluate([fitted.merge(params, w), fitted.apply(params, (u) => u)(x)], given);
  compareSingularValues(merged!, given.get(w)!, dims.inDim, 1e-10);
  compareNorms(rotated!, given.get(x)!, dims.inDim, 1e-12);
}

function compareSingularValues(merged: Float64Array, w: Float64Array, k: number, most: number): void {
  const expected = singularValues(w, k);
  singularValues(merged, k).forEach((s, i) =>
    requireSmall(`singular value ${i}`, Math.abs(s / expected[i]! - 1), most)
  );
}

/** Norms of rows agree, relative. */
export function compareNorms(rotated: Float64Array, x: Float64Array, k: number, most: number): void {
  const expected = rowNorms(x, k);
  rowNorms(rotated, k).forEach((n, i) =>
    requireSmall(`norm of row ${i}`, Math.abs(n / expected[i]! - 1), most)
  );
}

/** Neither the adapted map nor its gradients hold anything of the size of a weight, beside the weight itself. */
export function checkMemory({ fit }: AdapterRow): void {
  const dims = { inDim: 240, outDim: 240 };
  const fitted = fit(dims);
  const { x, base, params, trained, given } = sampleOf(fitted, dims, 5);
  const y = fitted.apply(params, base)(x);
  const grads = gradients([sum(mul(y, y), { axes: [0, 1] })], [fill(1)], [x, ...trained]);
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  for (const outputs of [[y], [y, ...grads]]) {
    const { plan } = compileTraced({ inputs: ends([...given.keys()]), outputs: ends(outputs) });
    const largest = Math.max(...plan.buffers.filter((b) => b.role !== "input").map((b) => b.bytes));
    requireSmall("bytes of the largest buffer", largest, dims.inDim * dims.outDim * bytesOf("f32") - 1);
  }
}

/** The merge law and orthogonality in f32, on a device. */
export async function checkOnDevice({ fit, dims, isOrthogonal }: AdapterRow, device: Device): Promise<void> {
  const fitted = fit(dims);
  const { x, w, base, params, given } = sampleOf(fitted, dims, 6);
  const outputs = [fitted.apply(params, base)(x), fitted.merge(params, w)];
  const [y, merged] = await runOnce(device, outputs, given);
  requireSmall("merge law in f32", difference(y!, timesTransposed(given.get(x)!, merged!, dims.inDim)), 1e-4);
  requireSmall("f32 against float64", difference(y!, evaluate(outputs, given)[0]!), 1e-4);
  if (isOrthogonal) compareSingularValues(merged!, given.get(w)!, dims.inDim, 1e-5);
}

/** All laws of one row. */
export async function checkAdapter(row: AdapterRow, device: Device): Promise<void> {
  checkStart(row);
  checkCount(row);
  checkMerge(row);
  checkUnmerge(row);
  checkDerived(row);
  checkGradients(row);
  checkOrthogonal(row);
  checkMemory(row);
  await checkOnDevice(row, device);
}
