/** The files of a new base beside its weights: `config.json` and a tokenizer. @module */
import { exists, writeTextAtomically } from "../../train/atomic_file.ts";
import { UserError } from "../../train/errors.ts";
import { loadTokenizer } from "../../train/tokenizer.ts";

/** Sizes of a Llama model. */
export interface Sizes {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly positions: number;
}

/** Sizes that were asked for; null: they follow from the others. */
export type GivenSizes = { readonly [K in keyof Sizes]: number | null };

/**
 * The sizes of a model that is to train on rows of `seq` positions; null when none is asked for. Throws UserError for sizes
 * that do not fit together.
 */
export function sizesOf(given: GivenSizes, seq: number): Sizes | null {
  if (Object.values(given).every((size) => size === null)) return null;
  const hidden = given.hidden ?? 384, heads = given.heads ?? Math.max(1, Math.round(hidden / 64));
  const kvHeads = given.kvHeads ?? heads;
  if (hidden % heads !== 0 || (hidden / heads) % 2 !== 0) {
    throw new UserError(`--heads ${heads}: --hidden ${hidden} has no ${heads} equal parts of even size.`);
  }
  if (heads % kvHeads !== 0) {
    throw new UserError(`--kv-heads ${kvHeads} does not divide --heads ${heads}.`);
  }
  return {
    layers: given.layers ?? 8,
    hidden,
    // The usual 8/3 of the hidden size, in whole 64s.
    intermediate: given.intermediate ?? Math.ceil(hidden * 8 / 3 / 64) * 64,
    heads,
    kvHeads,
    positions: given.positions ?? Math.max(256, seq),
  };
}

/**
 * Write `config.json` of these sizes and a copy of the tokenizer of `tokenizer` to `out`, making it. Throws UserError where
 * another model is there.
 */
export function writeModelDirectory(out: string, tokenizer: string, sizes: Sizes): void {
  const { vocabSize, bosId, eosId } = loadTokenizer(tokenizer);
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: sizes.hidden,
    intermediate_size: sizes.intermediate,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.hidden / sizes.heads,
    vocab_size: vocabSize,
    max_position_embeddings: sizes.positions,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: true,
    bos_token_id: bosId,
    eos_token_id: eosId,
    torch_dtype: "float16",
  };
  const file = `${out}/config.json`, text = `${JSON.stringify(config, null, 2)}\n`;
  if (exists(file) && Deno.readTextFileSync(file) !== text) {
    throw new UserError(
      `--out ${out}: ${file} is there, of another model; give a new directory, or leave out the sizes to train that one.`,
      { out },
    );
  }
  Deno.mkdirSync(out, { recursive: true });
  writeTextAtomically(file, text);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    writeTextAtomically(`${out}/${name}`, Deno.readTextFileSync(`${tokenizer}/${name}`));
  }
}
