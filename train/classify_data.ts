/** Rows of GLUE's files as examples for an encoder. @module */
import type { Dataset, Example } from "./data.ts";
import type { SentenceTokenizer } from "./encoder_tokenizer.ts";
import type { GlueTask } from "./evaluation/glue_tasks.ts";
import { labelledIn, type LabelledRow } from "./evaluation/labelled_rows.ts";

/** Read a task's file into examples of at most `seq` tokens. Rejects with DataError. */
export async function loadLabelled(
  file: string,
  task: GlueTask,
  tokenizer: Pick<SentenceTokenizer, "encode">,
  seq: number,
): Promise<Dataset> {
  return labelledDataset(await labelledIn(file, task), tokenizer, seq);
}

/** Examples of rows; none is left out. */
export function labelledDataset(
  rows: readonly LabelledRow[],
  tokenizer: Pick<SentenceTokenizer, "encode">,
  seq: number,
): Dataset {
  let truncated = 0;
  const examples = rows.map(({ sentences, target }): Example => {
    const { ids, types, cut } = tokenizer.encode(sentences, seq);
    if (cut) truncated++;
    return {
      ids,
      trained: ids.map(() => false),
      promptLength: ids.length,
      prompt: sentences.join(" ⏐ "),
      classified: { types, target },
    };
  });
  return { examples, truncated, dropped: 0 };
}
