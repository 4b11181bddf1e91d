/** Perplexity: e to the mean loss per token, over all tokens of all rows. @module */
import { type Example, exampleOf, readRows } from "../data.ts";
import { readText } from "../data/text_file.ts";
import { DataError } from "../errors.ts";
import type { FormatName, PlacedRow } from "../rows.ts";
import { logLikelihoods } from "./score.ts";
import { asking, type PreparedTask } from "./task.ts";

/** How a row longer than the context is read. */
export interface WindowOptions {
  /** Positions of a window. */
  readonly seq: number;
  /** Positions from one window to the next, 1 to `seq`. */
  readonly stride: number;
}

/**
 * Windows of an example: one where it fits, otherwise one every `stride` positions. Each token that counts does so in
 * exactly one window, the first that reaches it: after the first window it has at least `seq − stride` tokens before it.
 */
export function windowsOf(example: Example, { seq, stride }: WindowOptions): Example[] {
  const { ids, trained } = example, windows: Example[] = [];
  for (let from = 0, counted = 1; counted < ids.length; from += stride) {
    const to = Math.min(ids.length, from + seq + 1), seen = counted;
    windows.push({
      ...example,
      ids: ids.slice(from, to),
      trained: trained.slice(from, to).map((t, i) => t && from + i >= seen),
    });
    counted = to;
  }
  return windows;
}

/** What {@linkcode preparePerplexity} reads. */
export interface PerplexityOptions {
  readonly files: readonly string[];
  readonly format: FormatName | "auto";
  readonly limit: number;
  /** Null: windows that do not overlap. */
  readonly stride: number | null;
  readonly batch: number;
}

/** Read rows; a file whose name ends in `.txt` is one text. Throws DataError. */
export async function preparePerplexity(options: PerplexityOptions): Promise<PreparedTask> {
  const { files, format, limit, batch } = options;
  const read = async (file: string): Promise<PlacedRow[]> =>
    /\.txt(\.gz)?$/i.test(file)
      ? [{ row: { kind: "text", text: readText(file) }, where: file }]
      : (await readRows(file, format)).slice(0, limit);
  const placed = (await Promise.all(files.map(read))).flat();
  return asking(async (examinee, follow) => {
    const { tokenizer, seq } = examinee;
    const stride = options.stride ?? seq;
    if (stride > seq) {
      throw new DataError(
        `--stride ${stride}: windows of ${seq} tokens overlap or touch; give at most ${seq}.`,
      );
    }
    const examples = placed.map((row) => exampleOf(row, tokenizer));
    const windows = examples.map((example) => windowsOf(example, { seq, stride }));
    const scores = await logLikelihoods(examinee, windows.flat(), batch, follow);
    let at = 0;
    const items = placed.map(({ where }, i) => {
      const own = windows[i]!, loss = own.reduce((sum) => sum - scores[at++]!, 0);
      const tokens = own.reduce((n, { trained }) => n + trained.filter((t, p) => t && p > 0).length, 0);
      return { where, loss, tokens };
    });
    const tokens = items.reduce((n, item) => n + item.tokens, 0);
    const total = items.reduce((sum, item) => sum + item.loss, 0);
    if (tokens === 0) throw new DataError(`${files.join(", ")}: no row has a token to predict.`);
    const bytes = textBytes(placed);
    return {
      metrics: {
        perplexity: Math.exp(total / tokens),
        loss: total / tokens,
        ...(bytes === null ? {} : { bits_per_byte: total / Math.LN2 / bytes }),
        tokens,
        rows: placed.length,
        windows: windows.flat().length,
      },
      parts: [],
      items,
      notes: [
        "the first token of a row is given, its end token counts; of rows with a prompt the answer counts alone",
        ...(windows.flat().length > placed.length
          ? [`rows of more than ${seq} tokens are read in windows of ${seq}, one every ${stride}`]
          : []),
      ],
    };
  });
}

/** UTF-8 bytes of rows that are learnt whole; null where one is not. */
function textBytes(placed: readonly PlacedRow[]): number | null {
  const encoder = new TextEncoder();
  let bytes = 0;
  for (const { row } of placed) {
    if (row.kind !== "text") return null;
    bytes += encoder.encode(row.text).length;
  }
  return bytes === 0 ? null : bytes;
}
