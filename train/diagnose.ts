/** Where numbers stopped being finite: a step's tensors one after the other, in the order in which they are computed. @module */
import { type Aval, aval, type Device, type DeviceArray, type Tensor } from "../core/mod.ts";
import { abs, cast, lt, sum, where } from "../ops/mod.ts";
import { bind, type ShapeClass } from "./arena.ts";
import { runnerOf } from "./runner.ts";
import { type BatchTensors, type Objective, splitBatch } from "./step.ts";

/** What a step reads, on the device. */
export interface DiagnosisInput {
  readonly device: Device;
  readonly classes: readonly ShapeClass[];
  readonly objective: Objective;
  /** Avals of frozen weights and of arenas, by name. */
  readonly weights: Readonly<Record<string, Aval>>;
  readonly params: Readonly<Record<string, Aval>>;
  readonly batch: Readonly<Record<string, Aval>>;
  /** Which of the equal parts of the batch is looked at. */
  readonly part: { readonly index: number; readonly of: number };
  /** All of these by path, as `batch.<name>`, and the part's `key` u32[2]. */
  readonly arrays: ReadonlyMap<string, DeviceArray>;
}

/** Numbers from here on are not finite for f32's purposes: the largest is below. */
const LARGEST = 3.4e38;

/** Shown a tensor and its name, or an arena and a name for each of its rows. */
type Check = (name: string | readonly string[], of: Tensor) => void;

/**
 * The name of the first tensor of a step that has numbers which are not finite: a parameter, a weight, the input or
 * result of a linear map, the loss, a gradient. Null where all are finite.
 */
export async function firstNotFinite(at: DiagnosisInput): Promise<string | null> {
  const { device, weights, params, batch } = at;
  const names = new Map<string, string | readonly string[]>();
  const run = await runnerOf(device, (x) => {
    const found: Record<string, Tensor> = {};
    checkStep(at, x, (name, of) => {
      const path = `n${names.size}`;
      names.set(path, name);
      found[path] = typeof name === "string" ? strangers(of) : strangersByRow(of);
    });
    return { found };
  }, { weights, params, batch, key: aval([2], "u32") });
  try {
    const out = run.run(at.arrays);
    for (const [path, name] of names) {
      const counts = await device.download(out.get(`found.${path}`)!);
      const row = counts.findIndex((n) => n > 0);
      if (row >= 0) return typeof name === "string" ? name : name[row]!;
    }
    return null;
  } finally {
    run.executable.dispose();
  }
}

interface Traced {
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly params: Readonly<Record<string, Tensor>>;
  readonly batch: BatchTensors;
  readonly key: Tensor;
}

/** Show `check` the tensors of a step, in order. */
function checkStep(
  { classes, objective, part }: DiagnosisInput,
  { weights, params, batch, key }: Traced,
  check: Check,
): void {
  const arenas = (kind: string, of: Readonly<Record<string, Tensor>>): void => {
    for (const c of classes) {
      for (const leaf of c.leaves) {
        const arena = of[leaf.key];
        if (arena) check(c.members.map((m) => `${kind} ${c.fitted ? `${leaf.path} of ${m}` : m}`), arena);
      }
    }
  };
  arenas("the parameter", params);
  for (const [name, weight] of Object.entries(weights)) check(`the weight ${name}`, weight);
  const { members, wrt, gather } = bind(classes, params);
  const own = splitBatch(batch, part.of)[part.index]!;
  const { sum: loss, fresh } = objective.pull(
    { weights, params: members, key: { bits: key }, watch: check },
    own,
    wrt,
  );
  check("the loss", loss);
  arenas("the gradient of", gather(fresh));
}

/** How many numbers are not finite, f32[]. */
function strangers(x: Tensor): Tensor {
  return sum(marks(x), { axes: x.shape.map((_, i) => i) });
}

/** The same for each row of an arena f32[members, slot], f32[members]. */
function strangersByRow(x: Tensor): Tensor {
  return sum(marks(x), { axes: [1] });
}

/** 1 where a number is not finite, else 0. */
function marks(x: Tensor): Tensor {
  // No comparison with a number that is none holds.
  return where(lt(abs(cast(x, "f32")), LARGEST), 0, 1);
}
