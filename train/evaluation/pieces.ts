/** Pieces of texts, as the tokenizer of a `tokenizer.json` cuts them. @module */
import { Tokenizer } from "@huggingface/tokenizers";
import { TokenizerError } from "../errors.ts";
import { readJson } from "../json_file.ts";
import { words } from "./ngrams.ts";

/** Cuts a text into pieces. */
export type Cut = (text: string) => string[];

/**
 * Read a `tokenizer.json`; the tokens that it puts around texts are left out, and white space that it does not know is no
 * piece, as in sacrebleu. Throws TokenizerError.
 */
export function loadPieces(file: string): Cut {
  const json = readJson(file, TokenizerError, "spBLEU is counted over the pieces of a tokenizer.json");
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(json as object, {});
  } catch (error) {
    throw new TokenizerError(
      `${file}: cannot be used as a tokenizer (${String(error instanceof Error ? error.message : error)}).`,
      { file },
    );
  }
  return (text) => tokenizer.encode(text, { add_special_tokens: false }).tokens.flatMap(words);
}
