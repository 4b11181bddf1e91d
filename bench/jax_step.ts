/** The LoRA training step of the same Llama in jax-js: forward, backward, clipping and AdamW in one jitted function. @module */
import * as jax from "npm:@jax-js/jax@0.1.25";
import type { DecoderConfig, HostBatch, HostTensor, LlamaConfig } from "../train/mod.ts";

const { numpy: np, nn } = jax;
type Arr = jax.Array;
/** A and B of each adapted map, by its path. */
type Lora = Record<string, { a: Arr; b: Arr }>;

/** Name and version. */
export const JAX_JS = "jax-js 0.1.25";

/** Options of AdamW and of LoRA. */
export interface JaxOptions {
  readonly scale: number;
  readonly rate: number;
  readonly clip: number;
}

/** Array on the default device. */
function toArray({ aval, data }: HostTensor): Arr {
  return np.array(data as Float32Array<ArrayBuffer>).reshape([...aval.shape]);
}

/** Cosines and sines of rotary positions, [length, headDim]. */
function rotary({ headDim, ropeTheta }: LlamaConfig, length: number): { cos: Arr; sin: Arr } {
  const angles = Array.from(
    { length: length * headDim },
    (_, i) => Math.floor(i / headDim) * ropeTheta ** (-2 * (i % (headDim / 2)) / headDim),
  );
  const table = (f: (x: number) => number): Arr =>
    np.array(Float32Array.from(angles, f)).reshape([1, length, 1, headDim]);
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** Mean cross-entropy of all positions. jax-js owns what it is given: every use but the last takes a `.ref`. */
function lossOf(config: LlamaConfig, rows: number, length: number, scale: number) {
  const { hiddenSize, heads, kvHeads, headDim, layers, rmsNormEps, vocabSize } = config;
  const norm = (x: Arr, weight: Arr): Arr => {
    const mean = np.mean(np.square(x.ref), -1, { keepdims: true });
    return x.mul(np.reciprocal(np.sqrt(mean.add(rmsNormEps)))).mul(weight);
  };
  return (lora: Lora, frozen: Record<string, Arr>, ids: Arr, labels: Arr): Arr => {
    const linear = (path: string, x: Arr): Arr => {
      const { a, b } = lora[path]!;
      const thin = np.matmul(x.ref, a.ref.transpose());
      return np.matmul(x, frozen[`${path}.weight`]!.ref.transpose())
        .add(np.matmul(thin, b.ref.transpose()).mul(scale));
    };
    const turn = (x: Arr): Arr => {
      const [low, high] = np.split(x.ref, 2, -1) as [Arr, Arr];
      return x.mul(frozen["rotary.cos"]!.ref).add(
        np.concatenate([high.neg(), low], -1).mul(frozen["rotary.sin"]!.ref),
      );
    };
    const embedding = frozen["model.embed_tokens.weight"]!;
    let x: Arr = np.take(embedding.ref, ids, 0).reshape([rows * length, hiddenSize]);
    for (let i = 0; i < layers; i++) {
      const at = `model.layers.${i}`;
      const head = (name: string, from: Arr, count: number): Arr =>
        linear(`${at}.self_attn.${name}`, from).reshape([rows, length, count, headDim]);
      const h = norm(x.ref, frozen[`${at}.input_layernorm.weight`]!.ref);
      const mixed = nn.dotProductAttention(
        turn(head("q_proj", h.ref, heads)),
        turn(head("k_proj", h.ref, kvHeads)),
        head("v_proj", h, kvHeads),
        { isCausal: true },
      );
      x = x.add(linear(`${at}.self_attn.o_proj`, mixed.reshape([rows * length, heads * headDim])));
      const g = norm(x.ref, frozen[`${at}.post_attention_layernorm.weight`]!.ref);
      const gate = nn.silu(linear(`${at}.mlp.gate_proj`, g.ref));
      x = x.add(linear(`${at}.mlp.down_proj`, gate.mul(linear(`${at}.mlp.up_proj`, g))));
    }
    const logits = np.matmul(norm(x, frozen["model.norm.weight"]!.ref), embedding.ref.transpose());
    const chosen = nn.oneHot(labels, vocabSize).mul(nn.logSoftmax(logits, -1));
    return np.sum(chosen).mul(-1 / (rows * length));
  };
}

/** A step for batches of one shape, from the given weights and parameters; resolves with the loss when all is computed. */
export async function jaxStep(
  config: DecoderConfig,
  weights: ReadonlyMap<string, HostTensor>,
  start: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>,
  { rows, length }: Pick<HostBatch, "rows" | "length">,
  { scale, rate, clip }: JaxOptions,
): Promise<(batch: HostBatch) => Promise<number>> {
  if (config.family === "gpt2" || config.family === "gemma") {
    throw new Error("The other library's step is written for Llama's layout.");
  }
  await jax.init("wasm");
  jax.defaultDevice("wasm");
  const frozen: Record<string, Arr> = Object.fromEntries(
    [...weights].map(([name, tensor]) => [name, toArray(tensor)]),
  );
  const { cos, sin } = rotary(config, length);
  Object.assign(frozen, { "rotary.cos": cos, "rotary.sin": sin });
  let params: Lora = Object.fromEntries(
    [...start].map((
      [path, leaves],
    ) => [path, { a: toArray(leaves.get("a")!), b: toArray(leaves.get("b")!) }]),
  );
  const zeros = (): Lora => jax.tree.map((x: Arr) => np.zeros(x.shape), params) as Lora;
  let m = zeros(), v = zeros();
  const loss = lossOf(config, rows, length, scale);
  const update = jax.jit(
    (p: Lora, m: Lora, v: Lora, frozen: Record<string, Arr>, ids: Arr, labels: Arr, corrections: Arr) => {
      const [value, grads] = jax.valueAndGrad(loss)(jax.tree.ref(p), frozen, ids, labels) as [Arr, Lora];
      const [c1, c2] = np.split(corrections, 2) as [Arr, Arr];
      const squares = jax.tree.leaves(grads).map((g) => np.sum(np.square((g as Arr).ref)));
      const norm = np.sqrt(squares.reduce((a, b) => a.add(b)));
      const factor = np.minimum(np.reciprocal(np.maximum(norm, 1e-12)).mul(clip), 1);
      const clipped = jax.tree.map((g: Arr) => g.mul(factor.ref), grads) as Lora;
      const m2 = jax.tree.map((m: Arr, g: Arr) => m.mul(0.9).add(g.ref.mul(0.1)), m, clipped) as Lora;
      const v2 = jax.tree.map(
        (v: Arr, g: Arr) => v.mul(0.999).add(np.square(g).mul(0.001)),
        v,
        clipped,
      ) as Lora;
      const p2 = jax.tree.map(
        (p: Arr, m: Arr, v: Arr) => {
          const root = np.sqrt(v.ref.mul(c2.ref)).add(1e-8);
          return p.sub(m.ref.mul(c1.ref).mul(np.reciprocal(root)).mul(rate));
        },
        p,
        m2,
        v2,
      ) as Lora;
      return [value, p2, m2, v2];
    },
  );
  let steps = 0;
  return async ({ ids, labels }) => {
    steps++;
    const integers = (x: Int32Array): Arr => np.array(x as Int32Array<ArrayBuffer>);
    const corrections = np.array(Float32Array.of(1 / (1 - 0.9 ** steps), 1 / (1 - 0.999 ** steps)));
    const out = update(params, m, v, jax.tree.ref(frozen), integers(ids), integers(labels), corrections);
    const [value, ...state] = out as [Arr, Lora, Lora, Lora];
    [params, m, v] = state as [Lora, Lora, Lora];
    await jax.blockUntilReady([params, m, v] as unknown as jax.JsTree<Arr>);
    return (await value.data())[0]!;
  };
}
