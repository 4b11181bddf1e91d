/** How far the rotations of an adapter are from rotations, as they act in f32. @module */
import { butterfly, givens, householder, unitary } from "../../adapters/mod.ts";
import { openCpu } from "../../core/cpu/mod.ts";
import { type Aval, aval, type Device, type Tensor } from "../../core/mod.ts";
import { linear } from "../../ops/mod.ts";
import { RunnerCache, runnerOf } from "../runner.ts";
import type { HostTensor } from "../training.ts";

/** A rotation among the parameters of an adapter: those of its leaves, by name. */
export interface Rotation {
  /** What the leaves belong to: the path of the map, and the place inside its adapter. */
  readonly name: string;
  readonly leaves: ReadonlyMap<string, HostTensor>;
  /** Terms of the Neumann series; null: the exact Cayley map. */
  readonly neumann: number | null;
  /** Whether reflections' vectors are made orthonormal first. */
  readonly gramSchmidt: boolean;
}

/** What was found of a rotation. */
export interface OrthogonalityError {
  readonly name: string;
  /** Largest |⟨xᵢR, xⱼR⟩ − ⟨xᵢ, xⱼ⟩| over unit vectors: of R·Rᵀ − I where they are all of the standard basis. */
  readonly error: number;
  /** Whether random unit vectors stand for the basis, because there are many features. */
  readonly sampled: boolean;
}

/** Features up to which the whole basis is turned; above, this many random vectors. */
const WHOLE = 512, SAMPLES = 64;

/** Leaves that name a kind of rotation. */
export const ROTATION_LEAVES: Readonly<Record<string, readonly string[]>> = {
  skew: ["skew"],
  angles: ["angles"],
  u: ["u"],
  phases: ["phases", "reflections", "start"],
};

/** Measure rotations one after the other, on one thread of the processor. Throws ShapeError for leaves that do not fit. */
export async function orthogonalityErrors(rotations: readonly Rotation[]): Promise<OrthogonalityError[]> {
  if (rotations.length === 0) return [];
  const device = await openCpu({ threads: 1 });
  const runners = new RunnerCache();
  try {
    const found: OrthogonalityError[] = [];
    for (const rotation of rotations) found.push(await measure(device, runners, rotation));
    return found;
  } finally {
    await runners.dispose();
    await device.close();
  }
}

async function measure(
  device: Device,
  runners: RunnerCache,
  rotation: Rotation,
): Promise<OrthogonalityError> {
  const { name, leaves, neumann, gramSchmidt } = rotation;
  const { features, merge } = kindOf(rotation), sampled = features > WHOLE;
  const count = sampled ? SAMPLES : features;
  const vectors = sampled ? randomUnits(count, features) : identity(features);
  const avals = Object.fromEntries([...leaves].map(([leaf, t]) => [leaf, aval(t.aval.shape)]));
  const id = JSON.stringify([Object.entries(avals), neumann, gramSchmidt]);
  const { run } = await runners.get(id, () =>
    runnerOf(
      device,
      ({ leaves, x }) => {
        const turned = merge(leaves as Readonly<Record<string, Tensor>>, x);
        return { gram: linear(turned, turned) };
      },
      { leaves: avals as Record<string, Aval>, x: aval([count, features]) },
      { exact: true },
    ));
  const given = new Map([
    ...[...leaves].map(([leaf, t]) => [`leaves.${leaf}`, device.upload(t.data, aval(t.aval.shape))] as const),
    ["x", device.upload(vectors, aval([count, features]))] as const,
  ]);
  const gram = await device.download(run(given).get("gram")!);
  for (const array of given.values()) device.free(array);
  const expected = sampled ? gramOf(vectors, count, features) : vectors;
  let error = 0;
  for (let i = 0; i < gram.length; i++) {
    const off = Math.abs(gram[i]! - expected[i]!);
    // Not a number stays.
    if (!(off <= error)) error = off;
  }
  return { name, error, sampled };
}

type Merge = (leaves: Readonly<Record<string, Tensor>>, x: Tensor) => Tensor;

function kindOf(
  { leaves, neumann, gramSchmidt }: Rotation,
): { readonly features: number; readonly merge: Merge } {
  const [leaf, shape] = [...leaves].map(([leaf, t]) => [leaf, t.aval.shape] as const)[0]!;
  switch (leaf) {
    case "skew": {
      const [, pieces, entries] = shape as [number, number, number];
      const block = Math.round((1 + Math.sqrt(1 + 8 * entries)) / 2);
      const { merge } = butterfly({ block, factors: shape[0]!, cayley: neumann ?? "exact" });
      return { features: pieces * block, merge: ({ skew }, x) => merge({ skew: skew! }, x) };
    }
    case "angles": {
      const { merge } = givens({ layers: shape[0]! });
      return { features: 2 * shape[1]!, merge: ({ angles }, x) => merge({ angles: angles! }, x) };
    }
    case "u": {
      const { merge } = householder({ reflections: shape[1]!, gramSchmidt, paired: false });
      return { features: shape[0]!, merge: ({ u }, x) => merge({ u: u! }, x) };
    }
    default: {
      const { merge } = unitary();
      return {
        features: 2 * shape[1]!,
        merge: ({ phases, reflections, start }, x) =>
          merge({ phases: phases!, reflections: reflections!, start: start! }, x),
      };
    }
  }
}

function identity(n: number): Float32Array {
  const data = new Float32Array(n * n);
  for (let i = 0; i < n; i++) data[i * (n + 1)] = 1;
  return data;
}

/** Rows of length one, the same at each call. */
function randomUnits(rows: number, columns: number): Float32Array {
  const data = new Float32Array(rows * columns);
  let state = 1;
  for (let r = 0; r < rows; r++) {
    const row = data.subarray(r * columns, (r + 1) * columns);
    for (let c = 0; c < columns; c++) {
      // Numerical Recipes' linear congruential generator.
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      row[c] = state / 2 ** 31;
    }
    const norm = Math.sqrt(row.reduce((n, x) => n + x * x, 0));
    for (let c = 0; c < columns; c++) row[c]! /= norm;
  }
  return data;
}

/** Products of all pairs of rows, in float64. */
function gramOf(x: Float32Array, rows: number, columns: number): Float64Array {
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < rows; j++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += x[i * columns + c]! * x[j * columns + c]!;
      gram[i * rows + j] = sum;
    }
  }
  return gram;
}
