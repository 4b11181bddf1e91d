/** Trained adapters merged into their weights: what a model directory of its own holds. @module */
import { type Aval, type Device, type DeviceArray } from "../core/mod.ts";
import { cast } from "../ops/mod.ts";
import { arenaAval, type ShapeClass, unpack } from "./arena.ts";
import { runnerOf } from "./runner.ts";
import type { HostTensor } from "./training.ts";

/** What merging reads: frozen weights as `weights.<name>`, arenas as `params.<key>`. */
export interface MergeInput {
  readonly device: Device;
  readonly classes: readonly ShapeClass[];
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  /** Paths of maps, or names of weights trained themselves, that are wanted; absent: all. */
  readonly only?: ReadonlySet<string>;
}

/** Weights f32 of every map that has an adapter or is trained itself, by name, one after the other. */
export async function* mergedWeights(
  { device, classes, frozen, arrays, only }: MergeInput,
): AsyncGenerator<readonly [name: string, tensor: HostTensor]> {
  for (const of of classes) {
    const params = Object.fromEntries(of.leaves.map((leaf) => [leaf.key, arenaAval(of, leaf)]));
    for (const member of of.members) {
      if (only && !only.has(member)) continue;
      const name = of.fitted ? `${member}.weight` : member;
      const { run, executable } = await runnerOf(
        device,
        ({ weights, params }) => {
          const own = unpack([of], params).get(member)!;
          return { merged: of.fitted ? of.fitted.merge(own, cast(weights[name]!, "f32")) : own[0]! };
        },
        { weights: (of.fitted ? { [name]: frozen[name]! } : {}) as Record<string, Aval>, params },
        { exact: true },
      );
      const array = run(arrays).get("merged")!;
      yield [name, { aval: array.aval, data: (await device.download(array)).slice() }];
      executable.dispose();
    }
  }
}
