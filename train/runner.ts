/** Compiled functions on a device: arguments and results by path instead of by number. @module */
import {
  type Aval,
  type Capabilities,
  checkLimits,
  type Compiled,
  compileTraced,
  type Device,
  type DeviceArray,
  type Executable,
  type MapTree,
  planBytes,
  type Tensor,
  traceTree,
} from "../core/mod.ts";
import { PlanStore } from "./plan_store.ts";

/** A function ready to run. */
export interface Runner {
  readonly compiled: Compiled;
  readonly executable: Executable;
  /** Run once on arrays by path; further paths are ignored. Throws when one is missing. */
  readonly run: (inputs: ReadonlyMap<string, DeviceArray>) => ReadonlyMap<string, DeviceArray>;
}

/**
 * On a GPU, values of that many bytes are computed again in the backward pass where that costs little: less memory for a
 * few kernels more. On a processor the kernels would cost more than the memory is worth.
 */
const RECOMPUTE_FROM = 8 * 2 ** 20;

/** Makes plans, or knows them. */
export type Plans = Pick<PlanStore, "plan">;

/** Makes the plans of this process. */
let plans: Plans = new PlanStore();

/** Have plans made, or known, by another store from now on. */
export function usePlans(store: Plans): void {
  plans = store;
}

/** How a function is compiled. */
export interface RunnerOptions {
  /** Outputs whose path is also an input's path, and starts with one of these, are updated in place. */
  readonly inPlace?: readonly string[];
  /** Products do not round their operands, where others of the device do; default false. */
  readonly exact?: boolean;
}

/** Compile `f` to a plan for a device of these capabilities; whether it fits them is not checked. Throws ShapeError. */
export function compileFor<A>(
  { maxSlots, gpu }: Capabilities,
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
  { inPlace = [], exact = false }: RunnerOptions = {},
): Compiled {
  const rounds = !exact && gpu?.halfProducts === true;
  const traced = traceTree(f, avals);
  const isInput = new Set(traced.inputs.map((x) => x.path));
  const taken = traced.outputs.map((x) => x.path)
    .filter((path) =>
      isInput.has(path) && inPlace.some((prefix) => path === prefix || path.startsWith(`${prefix}.`))
    );
  const options = {
    maxSlots,
    halfProducts: rounds,
    ...(gpu ? { recompute: { from: RECOMPUTE_FROM }, overlap: true } : {}),
    // Two workgroups share a processor in products on matrix units.
    ...(gpu && rounds ? { split: { workgroups: 2 * gpu.processors } } : {}),
    inPlace: taken.map((path) => ({ output: path, input: path })),
  };
  return compileTraced(traced, options, (request) => plans.plan(request));
}

/** {@linkcode compileFor} a device, and make ready to run there. Throws ShapeError and PlanError. */
export async function runnerOf<A>(
  device: Device,
  f: (x: MapTree<A, Aval, Tensor>) => object,
  avals: A,
  options: RunnerOptions = {},
): Promise<Runner> {
  const compiled = compileFor(device.capabilities, f, avals, options);
  checkLimits(compiled.plan, device.capabilities);
  const executable = await device.compile(compiled.plan, options.exact);
  return {
    compiled,
    executable,
    run: (inputs) => {
      const given = compiled.inputs.map((path) => {
        const array = inputs.get(path);
        if (!array) throw new Error(`The input ${path} is missing.`);
        return array;
      });
      const results = executable.run(given);
      return new Map(compiled.outputs.map((path, i) => [path, results[i]!]));
    },
  };
}

/** Runners by name: each compiled once, all given back together. */
export class RunnerCache {
  readonly #runners = new Map<string, Promise<Runner>>();

  get(name: string, make: () => Promise<Runner>): Promise<Runner> {
    const known = this.#runners.get(name);
    if (known) return known;
    const fresh = make();
    this.#runners.set(name, fresh);
    return fresh;
  }

  /** Temporary memory of all plans together, in bytes. */
  async temporaryBytes(): Promise<number> {
    const all = await Promise.all(this.#runners.values());
    return all.reduce((n, r) => n + planBytes(r.compiled.plan).temporaries, 0);
  }

  /** Free what the plans hold; results that they gave are gone with them. */
  async dispose(): Promise<void> {
    for (const runner of this.#runners.values()) (await runner).executable.dispose();
    this.#runners.clear();
  }
}
