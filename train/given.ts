/** Parameters that start from given values instead of their adapter's start. @module */
import { type Device, type DeviceArray, sameShape, ShapeError, showAval } from "../core/mod.ts";
import { arenaAval, type ShapeClass } from "./arena.ts";
import type { HostTensor } from "./training.ts";

/** Values by member and leaf path. */
export type GivenValues = ReadonlyMap<string, ReadonlyMap<string, HostTensor>>;

/**
 * Put values into the arenas `params.<key>` of `arrays`; leaves without a value keep theirs. Throws ShapeError for a
 * member or leaf that does not exist, and for a shape that is not its own.
 */
export async function giveValues(
  device: Device,
  classes: readonly ShapeClass[],
  arrays: Map<string, DeviceArray>,
  values: GivenValues,
): Promise<void> {
  requireKnown(classes, values);
  for (const c of classes) {
    for (const leaf of c.leaves) {
      const given = c.members.map((m) => values.get(m)?.get(leaf.path));
      if (given.every((g) => g === undefined)) continue;
      const path = `params.${leaf.key}`;
      const arena = Float32Array.from(await device.download(arrays.get(path)!));
      given.forEach((g, row) => g && arena.set(g.data, row * leaf.slot));
      arrays.set(path, device.upload(arena, arenaAval(c, leaf)));
    }
  }
}

function requireKnown(classes: readonly ShapeClass[], values: GivenValues): void {
  const classOf = new Map(classes.flatMap((c) => c.members.map((m) => [m, c] as const)));
  for (const [member, leaves] of values) {
    const c = classOf.get(member);
    if (!c) throw new ShapeError(`Cannot start ${member} from given values: it is not adapted.`);
    for (const [path, { aval }] of leaves) {
      const leaf = c.leaves.find((l) => l.path === path);
      if (!leaf) {
        throw new ShapeError(
          `Cannot start ${member} from a given "${path}": its parameters are ${
            c.leaves.map((l) => l.path).join(", ")
          }.`,
        );
      }
      if (aval.dtype === "f32" && sameShape(leaf.aval.shape, aval.shape)) continue;
      throw new ShapeError(
        `Cannot start "${path}" of ${member} from ${showAval(aval)}: it is ${showAval(leaf.aval)}.`,
      );
    }
  }
}
