/** A model and its tokenizer, checked against each other and against what is asked of them. @module */
import { type Checkpoint, loadCheckpoint } from "./checkpoint.ts";
import { weightShapes } from "./decoder.ts";
import { DataError, UserError } from "./errors.ts";
import { modelDirectory } from "./hub.ts";
import type { TrainOptions } from "./options.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Says once of each weight how many of its values are too large for f16: a weight may be read more than once. */
export function overflowSayer(say: (line: string) => void): (name: string, count: number) => void {
  const said = new Set<string>();
  return (name, count) => {
    if (!said.has(name)) say(`warning: ${count} values of ${name} are too large for f16; use --dtype f32`);
    said.add(name);
  };
}

/**
 * A model, by its directory or its id on the hub, and its tokenizer, checked against each other. Throws CheckpointError,
 * TokenizerError and DataError.
 */
export async function loadModel(
  { model, dtype }: Pick<TrainOptions, "model" | "dtype">,
  say: (line: string) => void,
): Promise<{ readonly checkpoint: Checkpoint; readonly tokenizer: Tokenizer }> {
  const dir = await modelDirectory(model, { say });
  const checkpoint = loadCheckpoint(dir, { dtype, shapes: weightShapes, overflow: overflowSayer(say) });
  const tokenizer = loadTokenizer(dir);
  requireVocabulary(model, tokenizer, checkpoint.config);
  return { checkpoint, tokenizer };
}

/** What a model says of itself that tokenizers and lengths must fit. */
interface Sizes {
  readonly vocabSize: number;
  readonly maxPositions: number;
}

/** Refuse a tokenizer that has ids which the model has not. Throws DataError. */
export function requireVocabulary(
  model: string,
  tokenizer: Pick<Sizes, "vocabSize">,
  config: Pick<Sizes, "vocabSize">,
): void {
  if (tokenizer.vocabSize <= config.vocabSize) return;
  throw new DataError(
    `${model}: tokenizer.json has ${tokenizer.vocabSize} tokens and the model's vocab_size is ${config.vocabSize}; use the tokenizer that belongs to the model.`,
  );
}

/** Refuse sequences that are longer than a model takes. Throws UserError. */
export function requirePositions(seq: number, { maxPositions }: Pick<Sizes, "maxPositions">): void {
  if (seq <= maxPositions) return;
  throw new UserError(
    `--seq ${seq}: the model has ${maxPositions} positions; use at most that many.`,
  );
}
