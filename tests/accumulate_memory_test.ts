/** Memory of a step whose batch is cut into parts. @module */
import { assert } from "@std/assert";
import { dawnLike } from "../bench/step_plan.ts";
import { planBytes } from "../core/plan/check_limits.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { weightShapes } from "../train/decoder.ts";
import { parseLlamaConfig } from "../train/llama_config.ts";
import { methodClasses, type MethodName } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { planStep } from "../train/step_plan.ts";

const config = parseLlamaConfig({
  ...{ model_type: "llama", hidden_size: 64, intermediate_size: 128, num_hidden_layers: 6, vocab_size: 512 },
  ...{
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
  },
}, "config.json");

/** Bytes between the kernels of a step of so many parts, each of one row. */
function temporaries(method: MethodName, accumulate: number): number {
  const options = { ...DEFAULT_SETTINGS, method, rank: 4, alpha: 8, target: "all-linear" };
  const { plan } = planStep({
    capabilities: dawnLike("f32").capabilities,
    subject: { config, classes: methodClasses(options, config) },
    weights: new Map(weightShapes(config)),
    optimiser: adamW({ clip: 1, lossScale: null }),
    accumulate,
    maxLength: 64,
    batch: { rows: accumulate, length: 64 },
  });
  return planBytes(plan).temporaries;
}

for (const method of ["full", "lora", "boft", "hybrid"] as const) {
  Deno.test(`accumulate: more parts of one size take no more memory, ${method}`, () => {
    const [few, many] = [temporaries(method, 4), temporaries(method, 12)];
    assert(many < 1.03 * few, `${few} bytes with 4 parts, ${many} with 12`);
  });
}
