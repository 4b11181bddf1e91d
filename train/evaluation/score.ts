/** How likely a model holds texts to be: log-likelihoods of continuations, many at a time. @module */
import { batches } from "../batches.ts";
import { type Example, exampleOf } from "../data.ts";
import { DataError } from "../errors.ts";
import type { Tokenizer } from "../tokenizer.ts";
import type { Examinee, Follow } from "./task.ts";

/**
 * Log-likelihood of the trained tokens of each example, in nats, in the examples' order; 0 where nothing is trained.
 * Examples must fit `seq` positions, which is one id less than they have.
 */
export async function logLikelihoods(
  { session, seq }: Pick<Examinee, "session" | "seq">,
  examples: readonly Example[],
  batch: number,
  follow: Follow = () => {},
): Promise<number[]> {
  const found = new Array<number>(examples.length).fill(0);
  const order = examples.map((_, i) => i).sort((i, j) => examples[i]!.ids.length - examples[j]!.ids.length);
  const rows = Math.min(batch, examples.length);
  for (let at = 0; at < order.length; at += rows) {
    const group = order.slice(at, at + rows);
    // Sorted by length, so many examples make one batch, in this order.
    const [padded] = batches(group.map((i) => examples[i]!), {
      batch: rows,
      seq,
      seed: 0,
      epochs: 1,
      shuffle: false,
    });
    const losses = await session.rowLosses(padded!);
    group.forEach((i, row) => found[i] = -losses[row]!);
    follow(Math.min(at + rows, order.length), order.length);
  }
  return found;
}

/**
 * A prompt and what may follow it, of which the continuation alone counts. Both are encoded together, and a token that
 * spans the border belongs to the continuation. A prompt too long for `seq` positions loses tokens at its beginning, after
 * the one that begins a text; `cut` says so. Throws DataError naming `where` for a continuation that is empty or does not
 * fit.
 */
export function continuationOf(
  tokenizer: Tokenizer,
  { prompt, completion, where }: {
    readonly prompt: string;
    readonly completion: string;
    readonly where: string;
  },
  seq: number,
): { readonly example: Example; readonly cut: boolean } {
  const whole = exampleOf({ row: { kind: "prompt", prompt, completion }, where }, tokenizer);
  // What ends a text in training is no part of the continuation.
  const ids = whole.ids.slice(0, -1), trained = whole.trained.slice(0, -1);
  const keepsFirst = ids[0] === tokenizer.bosId ? 1 : 0;
  const asked = ids.length - whole.promptLength, excess = ids.length - (seq + 1);
  if (asked === 0 || asked > seq - keepsFirst || whole.promptLength === 0) {
    throw new DataError(
      `${where}: ${
        JSON.stringify(completion)
      } after its prompt takes ${asked} of ${ids.length} tokens; expected 1 to ${
        seq - keepsFirst
      }, after at least one of the prompt.`,
      { where, asked },
    );
  }
  if (excess <= 0) return { example: { ...whole, ids, trained }, cut: false };
  const shorten = <T>(list: readonly T[]): T[] => [
    ...list.slice(0, keepsFirst),
    ...list.slice(keepsFirst + excess),
  ];
  return {
    example: {
      ...whole,
      ids: shorten(ids),
      trained: shorten(trained),
      promptLength: whole.promptLength - excess,
    },
    cut: true,
  };
}
