/** GPT-2 as a pure function of its weights: positions are learned, norms have biases. Radford et al. 2019. @module */
import { type Aval, aval, type Tensor, within } from "../core/ir/mod.ts";
import { add, gather, gelu, layerNorm, linear, permute, reshape, slice } from "../ops/mod.ts";
import type { Attend } from "./attend.ts";
import type { Blocks, BoundWeights, DecoderFamily, LinearModule } from "./decoder_family.ts";
import type { Gpt2Config } from "./gpt2_config.ts";

export type { Gpt2Config } from "./gpt2_config.ts";

const TOKENS = "transformer.wte.weight", POSITIONS = "transformer.wpe.weight";

/** GPT-2. */
export const GPT2: DecoderFamily<Gpt2Config> = {
  blocks,
  modules,
  shapes: weightShapes,
  layers: "transformer.h",
  head,
  // The table of positions is a weight.
  tableShapes: () => new Map(),
  tables: () => new Map(),
};

/** The parts of a model with these weights. */
function blocks(config: Gpt2Config, bound: BoundWeights): Blocks {
  const { weight, map, rows } = bound;
  const norm = (path: string, x: Tensor): Tensor =>
    layerNorm(x, weight(`${path}.weight`), weight(`${path}.bias`), config.normEps);
  const project = (path: string, x: Tensor): Tensor => add(map(path)(x), weight(`${path}.bias`));
  const mix = (at: string, layer: number, x: Tensor, attend: Attend): Tensor => {
    const { heads, headDim, hiddenSize } = config;
    const [batch, t] = x.shape as [number, number];
    const fused = project(`${at}.c_attn`, x);
    const [queries, keys, values] = [0, 1, 2].map((i) => {
      const own = slice(fused, {
        start: [0, 0, i * hiddenSize],
        stop: [batch, t, (i + 1) * hiddenSize],
      });
      return permute(reshape(own, [batch, t, heads, headDim]), [0, 2, 1, 3]);
    }) as [Tensor, Tensor, Tensor];
    const mixed = attend(layer, queries, { keys, values });
    return project(`${at}.c_proj`, reshape(permute(mixed, [0, 2, 1, 3]), [batch, t, hiddenSize]));
  };
  return {
    embed: (ids) => add(gather(weight(TOKENS), ids), rows(POSITIONS)),
    layer: (i, x, attend) => {
      const at = `transformer.h.${i}`;
      return within(at, () => {
        const mixed = add(x, mix(`${at}.attn`, i, norm(`${at}.ln_1`, x), attend));
        const wide = gelu(project(`${at}.mlp.c_fc`, norm(`${at}.ln_2`, mixed)));
        return add(mixed, project(`${at}.mlp.c_proj`, wide));
      });
    },
    finalNorm: (x) => norm("transformer.ln_f", x),
    logits: (states) => linear(states, weight(head(config))),
  };
}

/** The weight that makes the logits. */
function head({ tiedEmbeddings }: Gpt2Config): string {
  return tiedEmbeddings ? TOKENS : "lm_head.weight";
}

/** The adaptable linear maps of a model, in order: queries, keys and values are one. */
function modules({ hiddenSize: h, intermediateSize: f, layers }: Gpt2Config): LinearModule[] {
  const sizes: readonly [string, number, number][] = [
    ["attn.c_attn", h, 3 * h],
    ["attn.c_proj", h, h],
    ["mlp.c_fc", h, f],
    ["mlp.c_proj", f, h],
  ];
  return Array.from({ length: layers }, (_, i) => i).flatMap((i) =>
    sizes.map(([name, inDim, outDim]) => ({
      path: `transformer.h.${i}.${name}`,
      inDim,
      outDim,
      inputFirst: true as const,
    }))
  );
}

/** Names and shapes of all weights of a model, as Hugging Face names them, linear maps [out, in]. */
function weightShapes(config: Gpt2Config): Map<string, Aval> {
  const { hiddenSize: h, vocabSize, layers, maxPositions, tiedEmbeddings } = config;
  const shapes = new Map<string, Aval>([[TOKENS, aval([vocabSize, h])], [
    POSITIONS,
    aval([maxPositions, h]),
  ]]);
  for (const { path, inDim, outDim } of modules(config)) {
    shapes.set(`${path}.weight`, aval([outDim, inDim])).set(`${path}.bias`, aval([outDim]));
  }
  const norms = Array.from(
    { length: layers },
    (_, i) => ["ln_1", "ln_2"].map((n) => `transformer.h.${i}.${n}`),
  );
  for (const norm of [...norms.flat(), "transformer.ln_f"]) {
    shapes.set(`${norm}.weight`, aval([h])).set(`${norm}.bias`, aval([h]));
  }
  if (!tiedEmbeddings) shapes.set("lm_head.weight", aval([vocabSize, h]));
  return shapes;
}
