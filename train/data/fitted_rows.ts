/** Rows of files as examples that fit. @module */
import { type Example, fitExample, placedExample } from "../data.ts";
import type { FormatName, PlacedRow } from "../rows.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { rowParts } from "./row_parts.ts";
import type { ReadingHooks } from "./text_file.ts";

/** Rows whose tokens are in memory at a time: lists of them take many times the room of the texts. */
const AT_ONCE = 32;

/** What rows become. */
export interface FittingOptions {
  /** Longest example, in positions. */
  readonly seq: number;
  readonly format: FormatName | "auto";
}

/** Rows that became examples, some at a time, in the order of the files, and what became of the others so far. */
export class FittedRows {
  truncated = 0;
  dropped = 0;
  /** Examples so far. */
  count = 0;
  /** Bytes of the files that were read so far. */
  read = 0;

  constructor(
    readonly files: readonly string[],
    readonly tokenizer: Tokenizer,
    readonly options: FittingOptions,
    readonly hooks: Pick<ReadingHooks, "most"> = {},
  ) {}

  /** Throws DataError, as rowParts does. */
  async *parts(): AsyncGenerator<readonly Example[]> {
    let before = 0;
    for (const file of this.files) {
      let told = 0, known = 0;
      const hooks = { ...this.hooks, read: (bytes: number) => void (told = bytes) };
      for await (const part of rowParts(file, this.options.format, hooks)) {
        for (let at = 0; at < part.length; at += AT_ONCE) {
          const examples = this.#fit(part.slice(at, at + AT_ONCE));
          this.read = before + known + (told - known) * Math.min(1, (at + AT_ONCE) / part.length);
          yield examples;
        }
        known = told;
      }
      before += known;
    }
  }

  #fit(rows: readonly PlacedRow[]): readonly Example[] {
    const fitted = rows.map((placed) => fitExample(placedExample(placed, this.tokenizer), this.options.seq));
    const examples = fitted.flatMap(({ example }) => example ?? []);
    this.truncated += fitted.filter(({ example, cut }) => example && cut).length;
    this.dropped += fitted.length - examples.length;
    this.count += examples.length;
    return examples;
  }
}
