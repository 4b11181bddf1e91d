/** Writing a model in Hugging Face's directory layout. @module */
import { writeTextAtomically } from "./atomic_file.ts";
import { CheckpointError } from "./errors.ts";
import { f16ToF32 } from "./floats.ts";
import { readJson } from "./json_file.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./session.ts";

/** Files of the base that belong to the model as they are, where it has them. */
const KEPT = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "chat_template.jinja",
];

/**
 * Write `<dir>/model.safetensors` with all weights in f32, the base's `config.json` saying so, and its tokenizer: a
 * directory that loads wherever the base does. `changes` are fields of the configuration that differ from the base's. The weights are written last, so that a directory with weights is whole.
 */
export function writeModel(
  dir: string,
  base: string,
  weights: ReadonlyMap<string, HostTensor>,
  changes: Readonly<Record<string, unknown>> = {},
): void {
  Deno.mkdirSync(dir, { recursive: true });
  const config = readJson(`${base}/config.json`, CheckpointError, "it came with the model") as object;
  // Newer files say dtype, older ones torch_dtype.
  const field = "dtype" in config ? "dtype" : "torch_dtype";
  writeTextAtomically(
    `${dir}/config.json`,
    `${JSON.stringify({ ...config, ...changes, [field]: "float32" }, null, 2)}\n`,
  );
  for (const name of KEPT) {
    try {
      writeTextAtomically(`${dir}/${name}`, Deno.readTextFileSync(`${base}/${name}`));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  const wide = new Map([...weights].map(([name, t]) => [name, widened(t)]));
  writeSafetensors(`${dir}/model.safetensors`, wide, { format: "pt" });
}

function widened(tensor: HostTensor): HostTensor {
  if (tensor.aval.dtype === "f32") return tensor;
  if (tensor.aval.dtype !== "f16") throw new Error(`A weight cannot be ${tensor.aval.dtype}.`);
  return { aval: { ...tensor.aval, dtype: "f32" }, data: f16ToF32(tensor.data as Uint16Array) };
}
