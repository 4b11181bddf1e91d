/** A model and its tokenizer, checked against each other and against what is asked of them. @module */
import type { AskedModel } from "./asked_model.ts";
import { type Checkpoint, loadCheckpoint } from "./checkpoint.ts";
import { weightShapes } from "./decoder.ts";
import { DataError, UserError } from "./errors.ts";
import { rangeSayer } from "./f16_range.ts";
import { modelDirectory } from "./hub.ts";
import type { TrainOptions } from "./options.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/**
 * A model, by its directory or its id on the hub, and its tokenizer, checked against each other. Throws CheckpointError,
 * TokenizerError and DataError.
 */
export async function loadModel(
  { model, dtype, namedBy }: Pick<TrainOptions, "dtype"> & AskedModel,
  say: (line: string) => void,
): Promise<{ readonly checkpoint: Checkpoint; readonly tokenizer: Tokenizer }> {
  const dir = await modelDirectory(model, { say, namedBy });
  const checkpoint = loadCheckpoint(dir, { dtype, shapes: weightShapes, lost: rangeSayer(say) });
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
