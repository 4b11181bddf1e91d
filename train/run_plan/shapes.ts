/** Sizes of published models, by name: facts of their `config.json`. @module */
import type { LlamaConfig } from "../llama_config.ts";

/** A decoder of Llama's layout: widths, layers, heads, vocabulary. */
export function llamaShape(
  hiddenSize: number,
  layers: number,
  [heads, kvHeads]: readonly [number, number],
  intermediateSize: number,
  vocabSize: number,
  tiedEmbeddings: boolean,
): LlamaConfig {
  return {
    ...{ hiddenSize, layers, heads, kvHeads, headDim: hiddenSize / heads, intermediateSize, vocabSize },
    ...{ tiedEmbeddings, rmsNormEps: 1e-5, ropeTheta: 10000, maxPositions: 131072, bosId: null, eosIds: [] },
  };
}

/** Published models by name. */
export const MODEL_SHAPES: Readonly<Record<string, LlamaConfig>> = {
  "SmolLM2-135M": llamaShape(576, 30, [9, 3], 1536, 49152, true),
  "SmolLM2-360M": llamaShape(960, 32, [15, 5], 2560, 49152, true),
  "SmolLM2-1.7B": llamaShape(2048, 24, [32, 32], 8192, 49152, true),
  "Llama-3.2-1B": llamaShape(2048, 16, [32, 8], 8192, 128256, true),
  "Llama-3.2-3B": llamaShape(3072, 28, [24, 8], 8192, 128256, true),
  "Llama-2-7B": llamaShape(4096, 32, [32, 32], 11008, 32000, false),
  "Llama-2-13B": llamaShape(5120, 40, [40, 40], 13824, 32000, false),
  "Llama-3.1-8B": llamaShape(4096, 32, [32, 8], 14336, 128256, false),
  "Llama-3.1-70B": llamaShape(8192, 80, [64, 8], 28672, 128256, false),
  "Llama-3.1-405B": llamaShape(16384, 126, [128, 8], 53248, 128256, false),
};
