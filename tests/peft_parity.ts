/**
 * How far Gyre is from Hugging Face PEFT on what `tests/fixtures/make_peft.py` recorded there: logits, loss, gradients,
 * the loss after 20 AdamW steps, all float32. @module
 */
import { assertEquals } from "@std/assert";
import { lowRank, on, type Placement } from "../adapters/mod.ts";
import type { Device } from "../core/mod.ts";
import { loadCheckpoint, loadConfig } from "../train/checkpoint.ts";
import { modulesOf, weightShapes } from "../train/decoder.ts";
import { adamW, chain, clipByGlobalNorm, type Optimiser, scaleByRate } from "../train/optimiser.ts";
import { loadedClasses, loadPeft, withSaved } from "../train/peft/load.ts";
import { blocksFromEntries, type LeafValues, upperFromEntries } from "../train/peft/convert.ts";
import { readPeft } from "../train/peft/files.ts";
import { openSafetensors } from "../train/safetensors.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";
import type { HostTensor } from "../train/training.ts";
import { transposed } from "../train/weight_file.ts";

const root = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);

/** Every method that PEFT has. */
export const PARITY_CASES: readonly string[] = [
  "lora",
  "lora_tied",
  "lora_patterns",
  "rslora",
  "dora",
  "dora_tied",
  "pissa",
  "olora",
  "lora_ga",
  "oft",
  "oft_odd",
  "oft_neumann",
  "oft_neumann7",
  "boft",
  "boft_m2",
  "boft_m3",
  "hra",
  "hra_odd",
  "hra_gs",
  "lora_saved",
  "gpt2_lora",
  "gpt2_dora",
  "gpt2_saved",
];

/**
 * Methods that change the base model at their start. PEFT saves them as plain factors of twice the rank, the second
 * half of which it did not train: Gyre keeps that half as frozen factors.
 */
const FROZEN_HALF: Readonly<Record<string, (rank: number, alpha: number) => Placement>> = {
  pissa: (rank, alpha) => on("all-linear", lowRank({ rank, alpha, start: "pissa" })),
  olora: (rank, alpha) => on("all-linear", lowRank({ rank, alpha, start: "olora" })),
  // The values are given: which start asks for frozen factors does not matter.
  lora_ga: (rank, alpha) => on("all-linear", lowRank({ rank, alpha, rankStabilised: true, start: "pissa" })),
};

interface Reference {
  readonly base: string;
  readonly ids: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly base_loss: number;
  readonly loss: number;
  readonly final_loss: number;
  readonly steps: number;
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
}

/** A session on the recorded model with the recorded adapter. */
async function open(
  name: string,
  { base, betas, ids }: Reference,
  device: Device,
  optimiser: Optimiser,
): Promise<Session> {
  const { config, weights } = loadCheckpoint(`${root}/${base}`, { dtype: "f32", shapes: weightShapes });
  const modules = modulesOf(config);
  const loaded = loadPeft(`${root}/${name}`, modules, { training: true });
  const frozen = FROZEN_HALF[name];
  const { method } = readPeft(`${root}/${name}`).config;
  const halved = frozen && method.kind === "LORA"
    ? {
      placements: [
        frozen(method.rank / 2, method.rankStabilised ? method.alpha / Math.SQRT2 : method.alpha / 2),
      ],
      values: new Map([...loaded.values].map(([path, leaves]) => [path, halves(leaves)])),
      saved: loaded.saved,
    }
    : loaded;
  return await openSession({
    device,
    subject: { config, classes: loadedClasses(halved, modules) },
    weights: withSaved(weights, halved, name),
    values: halved.values,
    optimiser,
    accumulate: 1,
    seed: 0,
    maxLength: ids[0]!.length,
    betas,
  });
}

/** [A; A₀] and [B, −B₀] taken apart. */
function halves(leaves: LeafValues): LeafValues {
  const a = leaves.get("a")!, b = leaves.get("b")!;
  const [both, inDim] = a.aval.shape as [number, number], [outDim] = b.aval.shape as [number];
  const r = both / 2;
  const of = (shape: readonly number[], at: (i: number) => number): HostTensor => ({
    aval: { shape, dtype: "f32" },
    data: Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => at(i)),
  });
  return new Map([
    ["a", of([r, inDim], (i) => a.data[i]!)],
    ["a0", of([r, inDim], (i) => a.data[r * inDim + i]!)],
    ["b", of([outDim, r], (i) => b.data[Math.floor(i / r) * both + (i % r)]!)],
    ["b0", of([outDim, r], (i) => -b.data[Math.floor(i / r) * both + r + (i % r)]!)],
  ]);
}

function batchOf({ ids, labels }: Reference): HostBatch {
  return {
    ids: Int32Array.from(ids.flat()),
    labels: Int32Array.from(labels.flat()),
    rows: ids.length,
    length: ids[0]!.length,
  };
}

/** Gradients of a map's leaves as PEFT has them: of full blocks, of upper triangles, of columns. */
function gradientsForPeft(leaves: LeafValues, neumann: boolean, full: boolean): Map<string, HostTensor> {
  const out = new Map<string, HostTensor>();
  const names = {
    a: "lora_A.weight",
    b: "lora_B.weight",
    magnitude: "lora_magnitude_vector",
    scale: "boft_s",
    u: "hra_u",
  };
  for (const [path, value] of leaves) {
    if (path === "skew" && full) {
      // S = ½(R − Rᵀ), and an entry of S stands there twice.
      const { aval, data } = blocksFromEntries(value);
      out.set("boft_R", { aval, data: (data as Float32Array).map((g) => g / 2) });
    } else if (path === "skew") out.set("oft_R.weight", upperFromEntries(value, neumann ? -1 : 1));
    else if (path === "weight") out.set("", value);
    else if (path in names) out.set(names[path as keyof typeof names], value);
  }
  return out;
}

/** Multiplies gradients in the one step that reads them, so that parameters of any size do not round them away. */
const GRADIENT_RATE = 2 ** 14;

async function gradientsOf(
  name: string,
  reference: Reference,
  device: Device,
): Promise<Map<string, Map<string, HostTensor>>> {
  const session = await open(name, reference, device, chain(clipByGlobalNorm(0), scaleByRate()));
  const before = await session.trained();
  await session.step(batchOf(reference), { plain: GRADIENT_RATE, orthogonal: GRADIENT_RATE });
  const after = await session.trained();
  return new Map([...before].map(([path, leaves]) => [
    path,
    new Map([...leaves].map(([leaf, old]) => {
      const now = after.get(path)!.get(leaf)!.data;
      const data = Float32Array.from(old.data, (v, i) => (v - now[i]!) / GRADIENT_RATE);
      return [leaf, { aval: old.aval, data }];
    })),
  ]));
}

/** Largest difference over largest size. */
function apart(ours: ArrayLike<number>, theirs: ArrayLike<number>): { absolute: number; relative: number } {
  assertEquals(ours.length, theirs.length);
  let gap = 0, size = 0;
  for (let i = 0; i < theirs.length; i++) {
    gap = Math.max(gap, Math.abs(ours[i]! - theirs[i]!));
    size = Math.max(size, Math.abs(theirs[i]!));
  }
  return { absolute: gap, relative: gap / size };
}

/** Differences between Gyre and PEFT. */
export interface Parity {
  readonly name: string;
  /** Largest difference of a logit. */
  readonly logits: number;
  /** Relative, of the mean loss. */
  readonly loss: number;
  /** Largest difference over the tensor's largest size, of all adapter gradients. */
  readonly gradients: number;
  /** The tensors with gradients that Gyre has, and that PEFT has. */
  readonly compared: readonly string[];
  readonly recorded: readonly string[];
  /** Relative, of the loss after `steps` steps of AdamW. */
  readonly final: number;
  readonly steps: number;
  /** How far the adapter moves the loss. */
  readonly moved: number;
}

/** Measure one case. */
export async function measureParity(name: string, device: Device): Promise<Parity> {
  const reference = JSON.parse(Deno.readTextFileSync(`${root}/${name}/reference.json`)) as Reference;
  using file = openSafetensors(`${root}/${name}/reference.safetensors`);
  const { betas: [beta1, beta2], eps, weight_decay: decay, lr, steps } = reference;
  const batch = batchOf(reference);
  const session = await open(name, reference, device, adamW({ clip: 0, beta1, beta2, epsilon: eps, decay }));
  const theirs = file.readF32("logits");
  let logits = 0;
  for (const [row, ids] of reference.ids.entries()) {
    const ours = await session.logits(ids);
    logits = Math.max(
      logits,
      apart(ours, theirs.subarray(row * ours.length, (row + 1) * ours.length)).absolute,
    );
  }
  const { loss } = await session.evaluate([batch]);

  const method = readPeft(`${root}/${name}`).config.method;
  const neumann = method.kind === "OFT" && method.neumannTerms !== null;
  // Weights that files have [in, out].
  const turned = new Set(
    modulesOf(loadConfig(`${root}/${reference.base}`)).flatMap((m) =>
      m.inputFirst ? [`${m.path}.weight`] : []
    ),
  );
  const compared: string[] = [];
  let worst = 0;
  for (const [path, leaves] of await gradientsOf(name, reference, device)) {
    for (const [leaf, value] of gradientsForPeft(leaves, neumann, method.kind === "BOFT")) {
      // A weight that is trained whole has its own name for a path.
      const key = `grad.base_model.model.${path}${leaf && "."}${leaf}`;
      compared.push(key);
      const own = turned.has(path) ? transposed(value) : value;
      worst = Math.max(worst, apart(own.data, file.readF32(key)).relative);
    }
  }
  for (let i = 0; i < steps; i++) await session.step(batch, { plain: lr, orthogonal: lr });
  const final = (await session.evaluate([batch])).loss;
  return {
    name,
    logits,
    loss: Math.abs(loss - reference.loss) / reference.loss,
    gradients: worst,
    compared: compared.sort(),
    recorded: [...file.header.tensors.keys()].filter((key) => key.startsWith("grad.")).sort(),
    final: Math.abs(final - reference.final_loss) / reference.final_loss,
    steps,
    moved: Math.abs(loss - reference.base_loss),
  };
}
