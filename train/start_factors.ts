/** The factors that adapters ask for before they start: of their weights, or of the loss's gradients for them. @module */
import { aval, type Device, type DeviceArray, showBytes } from "../core/mod.ts";
import type { Ask, Fitted } from "../adapters/mod.ts";
import type { ShapeClass } from "./arena.ts";
import { UserError } from "./errors.ts";
import { Factoriser, type HostFactors } from "./factorise.ts";
import type { GivenValues } from "./given.ts";
import type { LayerGradients } from "./full_gradients.ts";

/** Factors for a start that given values take the place of. */
function nothing({ asks, dims: { inDim, outDim } }: Fitted): HostFactors[] {
  return asks.map(({ columns }) => ({
    u: new Float32Array(outDim * columns),
    s: new Float32Array(columns),
    v: new Float32Array(inDim * columns),
  }));
}

/** Matrices that are factorised at once, as many as a layer of a decoder has: they wait for the device together. */
const TOGETHER = 7;

/** Waits for all, then throws what the first one that failed threw. */
async function allOf(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((r) => r.status === "rejected");
  if (failed) throw failed.reason;
}

/** What starts are computed from. */
export interface StartPass {
  readonly device: Device;
  /** Weights under `weights.<name>`. */
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  /** Batches whose gradients are taken. */
  readonly batches: number;
  /** Gradients of their mean loss for the weights of these maps, some maps at a time. */
  readonly gradients: (paths: ReadonlySet<string>) => AsyncIterable<LayerGradients>;
}

/**
 * Factors by member, in the order of its adapter's asks. Gradients are of the base model, layer by layer. Throws
 * UserError where a gradient is not finite, or no batches were given for adapters that start from gradients. Members that
 * are given all their values need none, and get zeros.
 */
export async function startFactors(
  pass: StartPass,
  classes: readonly ShapeClass[],
  seed: number,
  say: (line: string) => void = () => {},
  given: GivenValues = new Map(),
): Promise<ReadonlyMap<string, readonly HostFactors[]>> {
  const found = new Map<string, HostFactors[]>();
  const asks = new Map<string, readonly Ask[]>();
  for (const { fitted, members, leaves } of classes) {
    if (!fitted || fitted.asks.length === 0) continue;
    for (const member of members) {
      const values = given.get(member);
      if (leaves.every((leaf) => values?.has(leaf.path))) found.set(member, nothing(fitted));
      else asks.set(member, fitted.asks);
    }
  }
  if (asks.size === 0) return found;
  const factoriser = new Factoriser(pass.device, seed);
  const take = async (of: Ask["of"], member: string, matrix: DeviceArray): Promise<void> => {
    const list = found.get(member) ?? [];
    found.set(member, list);
    for (const [i, ask] of asks.get(member)!.entries()) {
      if (ask.of !== of) continue;
      list[i] = await factoriser.factors(matrix, ask).catch((error: unknown) => {
        if (!(error instanceof RangeError)) throw error;
        throw new UserError(
          `The ${of} of ${member} has numbers that are not finite: no adapter can start from it. ` +
            (of === "gradient" ? "Try --dtype f32, or other data." : "The model's file is damaged."),
        );
      });
    }
  };
  try {
    const wanting = (of: Ask["of"]): Set<string> =>
      new Set([...asks].filter(([, list]) => list.some((a) => a.of === of)).map(([member]) => member));
    const members = [...wanting("weight")];
    for (let i = 0; i < members.length; i += TOGETHER) {
      await allOf(
        members.slice(i, i + TOGETHER).map((m) => take("weight", m, pass.arrays.get(`weights.${m}.weight`)!)),
      );
    }
    const learners = wanting("gradient");
    if (learners.size > 0) {
      if (pass.batches === 0) {
        throw new UserError("An adapter starts from gradients (LoRA-GA): give rows to compute them on.");
      }
      for (const { fitted, members } of classes) {
        if (!fitted || !members.some((m) => learners.has(m))) continue;
        const { dims: { inDim, outDim }, asks } = fitted;
        for (const ask of asks) if (ask.of === "gradient") factoriser.prepare(aval([outDim, inDim]), ask);
      }
      const start = performance.now();
      let peak = 0;
      for await (const { gradients, bytes } of pass.gradients(learners)) {
        peak = Math.max(peak, bytes);
        await allOf([...gradients].map(([member, gradient]) => take("gradient", member, gradient)));
      }
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      say(
        `gradients of ${learners.size} maps on ${pass.batches} batches: ${seconds} s, ` +
          `${showBytes(peak)} besides the model`,
      );
    }
    return found;
  } finally {
    await factoriser.dispose();
  }
}
