/** Adapters that Gyre trains on the recorded models of `tests/fixtures/peft`, as they are written for PEFT. @module */
import { on } from "../adapters/mod.ts";
import type { Device } from "../core/mod.ts";
import {
  type AdapterName,
  ADAPTERS,
  type AdapterSettings,
  DEFAULT_SETTINGS,
} from "../train/adapter_specs.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { modulesOf, weightShapes } from "../train/decoder.ts";
import { adamW } from "../train/optimiser.ts";
import { type LoadedAdapters, loadedClasses, withSaved } from "../train/peft/load.ts";
import { peftLayout } from "../train/peft/methods.ts";
import { savePeft } from "../train/peft/save.ts";
import { type HostBatch, openSession, type Session } from "../train/session.ts";

/** The recorded models. */
export const PEFT_MODELS: string = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);

/** An adapter to train. */
export interface PeftSample {
  readonly name: string;
  readonly base: "tied" | "untied" | "gpt2";
  readonly method: AdapterName;
  readonly target: string;
  readonly settings: AdapterSettings;
  /** Weights that are trained whole. */
  readonly whole: readonly string[];
  /** Whether one directory of PEFT holds all of it. */
  readonly single: boolean;
}

function sample(
  name: string,
  base: PeftSample["base"],
  method: AdapterName,
  settings: Partial<AdapterSettings> = {},
  more: Partial<Pick<PeftSample, "target" | "single" | "whole">> = {},
): PeftSample {
  return {
    name,
    base,
    method,
    target: "all-linear",
    whole: [],
    single: true,
    ...more,
    settings: { ...DEFAULT_SETTINGS, rank: 3, alpha: 7, ...settings },
  };
}

/** Every method that PEFT has a type for, and those that take several directories. */
export const PEFT_SAMPLES: readonly PeftSample[] = [
  sample("lora", "untied", "lora"),
  sample("lora-some", "tied", "lora", {}, { target: "q_proj,*.1.mlp.*" }),
  sample("lora-whole", "untied", "lora", {}, {
    target: "v_proj",
    whole: ["lm_head.weight", "model.norm.weight"],
  }),
  sample("rslora", "tied", "rslora"),
  sample("dora", "untied", "dora"),
  sample("lora-ga", "untied", "lora-ga"),
  sample("pissa", "tied", "pissa"),
  sample("olora", "untied", "olora"),
  sample("oft", "untied", "oft", { block: 8 }),
  sample("oft-neumann", "tied", "oft", { block: 4, neumann: 5 }),
  sample("boft", "untied", "boft", { block: 8, factors: 1, rowScale: true }),
  sample("boft-m2", "tied", "boft", { block: 2, factors: 2, rowScale: true }),
  sample("boft-unscaled", "untied", "boft", { block: 4, factors: 3 }, { target: "q_proj,up_proj" }),
  sample("hra", "untied", "hra", { rank: 4 }),
  sample("boft-by-map", "tied", "boft", {}, { single: false }),
  sample("hybrid", "untied", "hybrid", {}, { single: false }),
  sample("gpt2-lora", "gpt2", "lora", {}, { target: "c_attn" }),
  sample("gpt2-dora", "gpt2", "dora", {}, { target: "mlp,attn" }),
  sample("gpt2-pissa", "gpt2", "pissa"),
  sample("gpt2-lora-ga", "gpt2", "lora-ga", {}, {
    target: "c_attn,mlp.c_proj",
    whole: ["0.attn.c_proj", "1.mlp.c_fc"].flatMap((m) =>
      ["weight", "bias"].map((leaf) => `transformer.h.${m}.${leaf}`)
    ),
  }),
  sample("hybrid-delta", "tied", "hybrid", { space: "delta", block: 4, factors: 1 }, { single: false }),
];

/** Tokens of a sequence, and what to learn of them. */
export const LENGTH = 12;

/** A fixed batch of `rows` random sequences. */
export function sampleBatch(vocab: number, rows: number): HostBatch {
  let state = 12345;
  const ids = Int32Array.from({ length: rows * LENGTH }, () => {
    // Numerical Recipes' generator: any fixed sequence will do.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 3 + state % (vocab - 3);
  });
  const labels = ids.map((_, i) => i % LENGTH === LENGTH - 1 ? -100 : ids[i + 1]!);
  return { ids, labels, rows, length: LENGTH };
}

/** A session on a recorded model. */
export function openOn(
  device: Device,
  base: string,
  { placements, values = new Map(), saved = new Map() }:
    & Pick<LoadedAdapters, "placements">
    & Partial<LoadedAdapters>,
): Promise<Session> {
  const { config, weights } = loadCheckpoint(`${PEFT_MODELS}/${base}`, {
    dtype: "f32",
    shapes: weightShapes,
  });
  return openSession({
    device,
    subject: { config, classes: loadedClasses({ placements, saved }, modulesOf(config)) },
    weights: withSaved(weights, { saved }, base),
    values,
    startBatches: [sampleBatch(config.vocabSize, 2)],
    optimiser: adamW({ clip: 1, decay: 0.01 }),
    accumulate: 1,
    seed: 7,
    maxLength: LENGTH,
  });
}

/** Train a sample for some steps and write it to `dir`; the logits that it then gives for `ids`. */
export async function trainAndSave(
  device: Device,
  { base, method, target, settings, whole }: PeftSample,
  dir: string,
  ids: readonly number[],
): Promise<Float32Array> {
  const { config, weights } = loadCheckpoint(`${PEFT_MODELS}/${base}`, {
    dtype: "f32",
    shapes: weightShapes,
  });
  const session = await openOn(device, base, {
    placements: [on(target, ADAPTERS[method].make(settings))],
    saved: new Map(whole.map((name) => [name, weights.get(name)!])),
  });
  const batch = sampleBatch(config.vocabSize, 2);
  for (let i = 0; i < 12; i++) await session.step(batch, { plain: 2e-2, orthogonal: 2e-2 });
  const layout = peftLayout(method, settings);
  if (!layout) throw new Error(`PEFT has no type for ${method}.`);
  const { branches, combine } = layout;
  savePeft(dir, {
    modules: modulesOf(config),
    trained: await session.trained(),
    branches: () => branches,
    combine,
    base: null,
  });
  return await session.logits(ids);
}
