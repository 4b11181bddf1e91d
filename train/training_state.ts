/** What is trained, as tensors on the host: checked before a session takes it, and by member and leaf. @module */
import { type Aval, sameShape, ShapeError, showAval, sizeOf } from "../core/mod.ts";
import { arenaAval, type ShapeClass } from "./arena.ts";
import type { HostTensor } from "./training.ts";

/** Refuse a state of another session. Throws ShapeError naming the tensor. */
export function requireTensors(own: ReadonlyMap<string, Aval>, given: ReadonlyMap<string, HostTensor>): void {
  const other = [...given.keys()].find((name) => !own.has(name));
  if (other !== undefined) throw new ShapeError(`The state has "${other}", which this model does not train.`);
  for (const [name, at] of own) {
    const found = given.get(name);
    if (found && found.aval.dtype === at.dtype && sameShape(found.aval.shape, at.shape)) continue;
    throw new ShapeError(
      `The state has ${found ? showAval(found.aval) : "nothing"} for "${name}", expected ${showAval(at)}.`,
    );
  }
}

/** Values by member and leaf path out of arenas `params.<key>`, f32[members, slot] each. Throws ShapeError for others. */
export function valuesOf(
  classes: readonly ShapeClass[],
  arenas: ReadonlyMap<string, HostTensor>,
): Map<string, Map<string, HostTensor>> {
  const all = new Map<string, Map<string, HostTensor>>();
  for (const c of classes) {
    for (const leaf of c.leaves) {
      const name = `params.${leaf.key}`, found = arenas.get(name);
      if (!found || found.data.length !== c.members.length * leaf.slot) {
        throw new ShapeError(
          `The state has ${found ? showAval(found.aval) : "nothing"} for "${name}", expected ${
            showAval(arenaAval(c, leaf))
          }.`,
        );
      }
      const arena = found.data;
      c.members.forEach((m, row) => {
        const data = arena.slice(row * leaf.slot, row * leaf.slot + sizeOf(leaf.aval.shape));
        all.set(m, (all.get(m) ?? new Map<string, HostTensor>()).set(leaf.path, { aval: leaf.aval, data }));
      });
    }
  }
  return all;
}
