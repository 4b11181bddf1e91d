/** Initial parameters of a session. @module */
import { type Aval, aval, type Device, type DeviceArray, evaluate, type HostArray } from "../core/mod.ts";
import { foldIn, key } from "../ops/mod.ts";
import { packAll, type ShapeClass } from "./arena.ts";
import type { HostFactors } from "./factorise.ts";
import { runnerOf } from "./runner.ts";
import { initialParams, KEY_STRIDE } from "./initial_params.ts";

/** What parameters start from. */
export interface StartInput {
  /** Weights that are trained themselves, as `weights.<name>`. */
  readonly own: ReadonlyMap<string, DeviceArray>;
  /** All weights. */
  readonly weights: Readonly<Record<string, Aval>>;
  readonly factors: ReadonlyMap<string, readonly HostFactors[]>;
  readonly seed: number;
  /** Frozen weights as `weights.<name>`; gets the arenas as `params.<key>`. */
  readonly arrays: Map<string, DeviceArray>;
}

/** Compute the initial parameters on the device, each member's from its own key. */
export async function initialise(
  device: Device,
  classes: readonly ShapeClass[],
  { own, weights, arrays, factors, seed }: StartInput,
): Promise<void> {
  const members = classes.flatMap((c) => c.members);
  if (members.length === 0) return;
  const keys = new Uint32Array(members.length * KEY_STRIDE);
  members.forEach((_, i) => keys.set([...evaluate([foldIn(key(seed), i).bits])[0]!], i * KEY_STRIDE));
  const keysAval = aval([members.length, KEY_STRIDE], "u32");
  const given = new Map([...arrays, ...own]);
  const fresh: DeviceArray[] = [];
  const give = (path: string, data: HostArray, at: Aval): Aval => {
    const array = device.upload(data, at);
    fresh.push(array);
    given.set(path, array);
    return at;
  };
  const found = Object.fromEntries([...factors].map(([member, list]) => [
    member,
    list.map((f, i) => {
      const columns = f.s.length;
      const put = (name: "u" | "s" | "v", shape: readonly number[]): Aval =>
        give(`factors.${member}.${i}.${name}`, f[name], aval(shape));
      return {
        u: put("u", [f.u.length / columns, columns]),
        s: put("s", [columns]),
        v: put("v", [f.v.length / columns, columns]),
      };
    }),
  ]));
  give("keys", keys, keysAval);
  const run = await runnerOf(
    device,
    ({ weights, keys, factors }) => ({
      params: packAll(classes, initialParams(classes, weights, keys, new Map(Object.entries(factors)))),
    }),
    { weights, keys: keysAval, factors: found },
    { exact: true },
  );
  // The executable owns these arrays: it lives as long as the device.
  for (const [path, array] of run.run(given)) arrays.set(path, array);
  await Promise.all(
    [...arrays].filter(([path]) => path.startsWith("params.")).slice(0, 1).map(([, a]) => device.download(a)),
  );
  for (const array of fresh) device.free(array);
}
