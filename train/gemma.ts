/** Gemma 2 (arXiv:2408.00118) and the text models of Gemma 3 (arXiv:2503.19786): Llama's maps, with norms on both sides of each block. @module */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import { add, gelu, mul, rmsNorm, softCap } from "../ops/mod.ts";
import type { Blocks, BoundWeights, DecoderFamily, Table } from "./decoder_family.ts";
import type { GemmaConfig } from "./gemma_config.ts";
import {
  attentionBlock,
  embed,
  finalNorm,
  llamaHead,
  llamaModules,
  llamaShapes,
  logits,
  rotaryShapes,
  rotaryTables,
} from "./llama.ts";

/** Gemma 2 and 3. */
export const GEMMA: DecoderFamily<GemmaConfig> = {
  blocks,
  modules: llamaModules,
  shapes: weightShapes,
  layers: "model.layers",
  head: llamaHead,
  tableShapes: (config, positions) => withLocal(config, rotaryShapes(config, positions)),
  tables,
};

/** Norms that Llama does not have. */
const NORMS = ["pre_feedforward_layernorm", "post_feedforward_layernorm"];

/** The name of a table for layers with a window, where their positions turn at another speed. */
function localName(name: string): string {
  return name.replace("rotary.", "rotary.local.");
}

function withLocal<T>({ localTheta }: GemmaConfig, tables: Map<string, T>): Map<string, T> {
  const local = [...tables].map(([name, table]) => [localName(name), table] as const);
  return localTheta === undefined ? tables : new Map([...tables, ...local]);
}

function tables(config: GemmaConfig, positions: number): Map<string, Table> {
  const all = rotaryTables(config, positions), { headDim, localTheta } = config;
  if (localTheta === undefined) return all;
  const local = rotaryTables({ headDim, ropeTheta: localTheta }, positions);
  return new Map([...all, ...[...local].map(([name, table]) => [localName(name), table] as const)]);
}

function blocks(config: GemmaConfig, { weight: stored, map, rows: table }: BoundWeights): Blocks {
  const { hiddenSize, headDim, queryScale, logitCap, localTheta, rmsNormEps, windows } = config;
  // Files hold the scales of norms less 1.
  const weight = (name: string): Tensor => name.endsWith("norm.weight") ? add(stored(name), 1) : stored(name);
  const model = { config, weight, map, rows: table };
  const norm = (path: string, x: Tensor): Tensor => rmsNorm(x, weight(`${path}.weight`), rmsNormEps);
  return {
    embed: (ids) => mul(embed(model, ids), Math.sqrt(hiddenSize)),
    layer: (i, x, attend, like = i) => {
      const at = `model.layers.${i}`;
      const local = localTheta !== undefined && (windows?.[like] ?? null) !== null;
      const rows = (name: string): Tensor => table(local ? localName(name) : name);
      return within(at, () => {
        const mixed = attentionBlock(
          { ...model, rows },
          i,
          norm(`${at}.input_layernorm`, x),
          // Attention itself divides by √headDim.
          (layer, queries, fresh) => attend(layer, mul(queries, queryScale * Math.sqrt(headDim)), fresh),
        );
        const y = add(x, norm(`${at}.post_attention_layernorm`, mixed));
        const into = norm(`${at}.pre_feedforward_layernorm`, y);
        const wide = mul(gelu(map(`${at}.mlp.gate_proj`)(into)), map(`${at}.mlp.up_proj`)(into));
        return add(y, norm(`${at}.post_feedforward_layernorm`, map(`${at}.mlp.down_proj`)(wide)));
      });
    },
    finalNorm: (x) => finalNorm(model, x),
    logits: (states) =>
      logitCap === undefined ? logits(model, states) : softCap(logits(model, states), logitCap),
  };
}

function weightShapes(config: GemmaConfig): Map<string, Aval> {
  const shapes = llamaShapes(config);
  for (let i = 0; i < config.layers; i++) {
    for (const norm of NORMS) shapes.set(`model.layers.${i}.${norm}.weight`, aval([config.hiddenSize]));
  }
  return shapes;
}
