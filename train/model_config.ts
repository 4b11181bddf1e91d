/** A model's `config.json`, whatever its family. @module */
import type { DecoderConfig } from "./decoder.ts";
import { parseGemmaConfig } from "./gemma_config.ts";
import { parseGpt2Config } from "./gpt2_config.ts";
import { parseLlamaConfig } from "./llama_config.ts";

/** Understand `config.json` by its `model_type`. Throws CheckpointError naming file, field and value. */
export function parseConfig(json: unknown, file: string): DecoderConfig {
  const type = (json as { readonly model_type?: unknown } | null)?.model_type;
  if (type === "gpt2") return parseGpt2Config(json, file);
  return type === "gemma2" || type === "gemma3_text"
    ? parseGemmaConfig(json, file)
    : parseLlamaConfig(json, file);
}
