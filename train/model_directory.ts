/** Writing a model in Hugging Face's directory layout. @module */
import { writeTextAtomically } from "./atomic_file.ts";
import { isEncoderConfig } from "./encoder_config.ts";
import { CheckpointError } from "./errors.ts";
import { loadConfig } from "./checkpoint.ts";
import { modulesOf } from "./decoder.ts";
import { f16ToF32, f32ToBf16, f32ToF16 } from "./floats.ts";
import { readJson } from "./json_file.ts";
import { onDemand, writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./training.ts";
import { transposed } from "./weight_file.ts";

/** Files of the base that belong to the model as they are, where it has them. */
const KEPT = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "chat_template.jinja",
];

/** Element types of a written model: names in its configuration. */
const DTYPES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const;

/** Element type of a written model. */
export type ModelDType = keyof typeof DTYPES;

/**
 * Write `<dir>/model.safetensors` with all weights in `dtype`, rounded to nearest, the base's `config.json` saying so, and
 * its tokenizer: a directory that loads wherever the base does. The weights are written last, so that a directory with
 * weights is whole. `changes` are fields of the configuration that differ from the base's.
 */
export function writeModel(
  dir: string,
  base: string,
  weights: ReadonlyMap<string, HostTensor>,
  dtype: ModelDType = "f32",
  changes: Readonly<Record<string, unknown>> = {},
): void {
  Deno.mkdirSync(dir, { recursive: true });
  const config = readJson(`${base}/config.json`, CheckpointError, "it came with the model") as object;
  // Newer files say dtype, older ones torch_dtype.
  const field = "dtype" in config ? "dtype" : "torch_dtype";
  writeTextAtomically(
    `${dir}/config.json`,
    `${JSON.stringify({ ...config, ...changes, [field]: DTYPES[dtype] }, null, 2)}\n`,
  );
  for (const name of KEPT) {
    try {
      writeTextAtomically(`${dir}/${name}`, Deno.readTextFileSync(`${base}/${name}`));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  const turned = new Set(
    // Encoders' files have all maps [out, in].
    (isEncoderConfig(config) ? [] : modulesOf(loadConfig(base))).flatMap((m) =>
      m.inputFirst ? [`${m.path}.weight`] : []
    ),
  );
  const written = new Map([...weights].map(([name, t]) => {
    const own = converted(t, dtype);
    return [name, turned.has(name) ? transposed(own) : own] as const;
  }));
  writeSafetensors(`${dir}/model.safetensors`, written, { format: "pt" });
}

function converted(tensor: HostTensor, dtype: ModelDType): HostTensor {
  const { aval } = tensor;
  if (aval.dtype === dtype) return tensor;
  if (aval.dtype !== "f16" && aval.dtype !== "f32") throw new Error(`A weight cannot be ${aval.dtype}.`);
  return onDemand({ ...aval, dtype }, () => {
    const wide = aval.dtype === "f16" ? f16ToF32(tensor.data as Uint16Array) : tensor.data as Float32Array;
    return dtype === "f32" ? wide : dtype === "f16" ? f32ToF16(wide) : f32ToBf16(wide);
  });
}
