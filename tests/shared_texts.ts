/** Real texts and tokenizers beside the repository, where they are there. @module */
import { exists } from "../train/atomic_file.ts";
import { root } from "./runs.ts";

/** Directories with tokenizers of byte-pair encoding, and files of lines in several languages; null where they are not there. */
export function sharedTexts(): { readonly tokenizers: string[]; readonly texts: string[] } | null {
  const data = `${root}/../shared/data`;
  if (!exists(data)) {
    console.log("skipped: real texts, since ../shared/data is not here");
    return null;
  }
  const flores = `${data}/flores/flores200_devtest`;
  return {
    tokenizers: [
      `${root}/examples/base`,
      `${data}/models/stories260K`,
      `${data}/adapters/gpt2-tigrinya-lora`,
    ],
    texts: [
      ...["text/tinyshakespeare/input.txt", "gsm8k/train.jsonl", "xnli/dev-zh.tsv"].map((name) =>
        `${data}/${name}`
      ),
      ...[...Deno.readDirSync(flores)].map(({ name }) => `${flores}/${name}`),
    ],
  };
}
