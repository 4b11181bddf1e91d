/** The files of a new base beside its weights: `config.json` and a tokenizer. @module */
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { UserError } from "../../train/errors.ts";
import { loadTokenizer } from "../../train/tokenizer.ts";

/** Flags that ask for a new base; those not given follow from the others. */
export const SIZE_FLAGS = ["layers", "hidden", "intermediate", "heads", "kv-heads", "positions"] as const;

/** Name of a size flag. */
export type SizeFlag = typeof SIZE_FLAGS[number];

/** Sizes of a Llama model. */
export interface Sizes {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly positions: number;
}

/** The sizes that flags ask for; null when no size flag is given. Throws UserError for sizes that do not fit together. */
export function readSizes(
  text: (flag: SizeFlag) => string | undefined,
  number: (flag: string, text: string) => number,
): Sizes | null {
  if (SIZE_FLAGS.every((flag) => text(flag) === undefined)) return null;
  const size = (flag: SizeFlag, absent: number): number => {
    const found = text(flag), n = found === undefined ? absent : number(flag, found);
    if (!Number.isInteger(n)) throw new UserError(`--${flag} is "${found}": give a whole number.`);
    return n;
  };
  const hidden = size("hidden", 384), heads = size("heads", Math.max(1, Math.round(hidden / 64)));
  const kvHeads = size("kv-heads", heads);
  if (hidden % heads !== 0 || (hidden / heads) % 2 !== 0) {
    throw new UserError(`--heads ${heads}: --hidden ${hidden} has no ${heads} equal parts of even size.`);
  }
  if (heads % kvHeads !== 0) {
    throw new UserError(`--kv-heads ${kvHeads} does not divide --heads ${heads}.`);
  }
  return {
    layers: size("layers", 8),
    hidden,
    // The usual 8/3 of the hidden size, in whole 64s.
    intermediate: size("intermediate", Math.ceil(hidden * 8 / 3 / 64) * 64),
    heads,
    kvHeads,
    positions: size("positions", 256),
  };
}

/** Write `config.json` of these sizes and a copy of the tokenizer of `tokenizer` to `out`, making it. */
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
  Deno.mkdirSync(out, { recursive: true });
  writeTextAtomically(`${out}/config.json`, `${JSON.stringify(config, null, 2)}\n`);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    writeTextAtomically(`${out}/${name}`, Deno.readTextFileSync(`${tokenizer}/${name}`));
  }
}
