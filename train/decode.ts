/** Decoding with kept keys and values: one position a step, as a pure graph. @module */
import { type Aval, aval, type Tensor } from "../core/mod.ts";
import {
  add,
  argmax,
  broadcastTo,
  cast,
  eq,
  gather,
  iota,
  le,
  logicalAnd,
  maskedAttention,
  reshape,
  sum,
  where,
} from "../ops/mod.ts";
import { type Attend, visible } from "./attend.ts";
import type { DecoderConfig } from "./decoder.ts";
import { type Choice, chooseToken } from "./sample.ts";
import { bindModel, type Subject, type Weights } from "./bind_model.ts";
import { type Arenas, bind } from "./arena.ts";

/** State of a decoding: each step reads position `position` of all rows and writes the next token. */
export interface DecodeState {
  /** Token ids f32[rows, t]: the prompts, later what was generated. */
  readonly tokens: Tensor;
  /** f32[]: the position to read. */
  readonly position: Tensor;
  /** Keys and values f32[rows, kvHeads, t, headDim], by layer: `k0`, `v0`, `k1`, … */
  readonly cache: Readonly<Record<string, Tensor>>;
}

/** What a decoding step reads. */
export interface DecodeInput {
  readonly weights: Weights;
  readonly params: Arenas;
  readonly state: DecodeState;
  /** f32[rows]: tokens before this length are given, not generated. */
  readonly lengths: Tensor;
  /** How tokens are chosen; absent: the likeliest. */
  readonly choice?: Choice;
}

/** Avals of the state for `rows` sequences of up to `t` tokens. */
export function decodeStateAvals(config: DecoderConfig, rows: number, t: number): {
  tokens: Aval;
  position: Aval;
  cache: Record<string, Aval>;
} {
  const cache: Record<string, Aval> = {};
  for (let i = 0; i < config.layers; i++) {
    cache[`k${i}`] = cache[`v${i}`] = aval([rows, config.kvHeads, t, config.headDim]);
  }
  return { tokens: aval([rows, t]), position: aval([]), cache };
}

/** One step: logits f32[rows, vocab] at the position, and the state after it. */
export function decodeStep(
  subject: Subject,
): (x: DecodeInput) => { readonly state: DecodeState; readonly logits: Tensor } {
  return ({ weights, params, state, lengths, choice }) => {
    const { tokens, position, cache } = state;
    const [rows, t] = tokens.shape as [number, number];
    const { kvHeads, headDim } = subject.config;
    const columns = cast(iota([t], 0), "f32");
    const here = eq(columns, broadcastTo(position, [t]));
    const next: Record<string, Tensor> = {};
    const ids = cast(sum(where(broadcastTo(here, [rows, t]), tokens, 0), { axes: [1] }), "i32");
    const at = cast(reshape(position, [1]), "i32");
    const attend: Attend = (layer, queries, { keys, values }) => {
      const mask = broadcastTo(reshape(here, [t, 1]), [rows, kvHeads, t, headDim]);
      const k = next[`k${layer}`] = where(mask, broadcastTo(keys, mask.shape), cache[`k${layer}`]!);
      const v = next[`v${layer}`] = where(mask, broadcastTo(values, mask.shape), cache[`v${layer}`]!);
      const { windows, scoreCap } = subject.config;
      const seen = visible(windows?.[layer] ?? null, broadcastTo(position, [t]), columns);
      return maskedAttention(queries, k, v, reshape(seen, [1, t]), scoreCap);
    };
    const model = bindModel(
      subject,
      weights,
      bind(subject.classes, params).members,
      (table) => gather(table, at),
    );
    const states = model.hidden(reshape(ids, [rows, 1]), attend);
    const out = model.logits(reshape(states, [rows, subject.config.hiddenSize]));
    const following = add(position, 1);
    const generated = logicalAnd(
      broadcastTo(eq(columns, broadcastTo(following, [t])), [rows, t]),
      broadcastTo(reshape(le(lengths, broadcastTo(following, [rows])), [rows, 1]), [rows, t]),
    );
    const chosen = choice ? chooseToken(out, choice, position) : argmax(out);
    const fresh = broadcastTo(reshape(cast(chosen, "f32"), [rows, 1]), [rows, t]);
    return {
      state: { tokens: where(generated, fresh, tokens), position: following, cache: next },
      logits: out,
    };
  };
}
