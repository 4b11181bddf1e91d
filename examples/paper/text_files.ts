/** Rows of a comparison for language models: JSON lines to learn, and parts of files to measure on. @module */
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { isParquet, valuesIn } from "../../train/data/row_parts.ts";
import { parsePairs, TEMPLATE, translationPrompt } from "../../train/evaluation/flores.ts";
import { loadTexts } from "../../train/evaluation/flores_files.ts";
import type { RowOptions, TaskFiles } from "./files.ts";
import { linesOf, publishedFile } from "./published.ts";
import { spread } from "./spread.ts";
import type { TextTask } from "./suites.ts";

/** Write a task's rows to learn, `rows` at most, and the files to measure on with `evalRows` rows at most each. Rejects with DataError. */
export async function writeTextFiles(
  { data, work, rows }: Pick<RowOptions, "data" | "work" | "rows">,
  { name, learns, train, dev }: TextTask,
  evalRows: number,
): Promise<TaskFiles> {
  const files = train.map((file) => publishedFile(data, file)!);
  const learnt = learns === "translations"
    ? await translations(files)
    : (await Promise.all(files.map(valuesIn))).flat().map(({ json }) => json);
  const to = `${work}/data/${name}-train.jsonl`;
  writeTextAtomically(to, jsonLines(spread(learnt, rows)));
  Deno.mkdirSync(`${work}/data/${name}`, { recursive: true });
  const parts = dev.map((file) => writePart(publishedFile(data, file)!, `${work}/data/${name}`, evalRows));
  return { train: to, dev: await Promise.all(parts) };
}

function jsonLines(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

/** Write a file's part of `most` rows into a directory. Its name says which language it has, and how rows stand in it. */
async function writePart(file: string, to: string, most: number): Promise<string> {
  const name = file.split("/").at(-1)!.replace(/\.gz$/, "");
  if (isParquet(file)) {
    const part = `${to}/${name.replace(/\.parquet$/i, ".jsonl")}`;
    writeTextAtomically(part, jsonLines(spread(await valuesIn(file), most).map(({ json }) => json)));
    return part;
  }
  const part = `${to}/${name}`, lines = linesOf(file), head = name.endsWith(".tsv") ? lines.splice(0, 1) : [];
  writeTextAtomically(part, [...head, ...spread(lines, most), ""].join("\n"));
  return part;
}

/** A translation to learn. */
interface Translation {
  readonly prompt: string;
  readonly completion: string;
}

/** Rows that ask as `evaluate.ts` does, from the first file's language into each other. */
async function translations(files: readonly string[]): Promise<Translation[]> {
  const texts = await loadTexts(files, false);
  const pairs = parsePairs(null, [...texts.keys()]);
  return texts.get(pairs[0]!.source)!.flatMap((sentence, i) =>
    pairs.map((pair) => ({
      prompt: translationPrompt(TEMPLATE, pair, sentence),
      completion: ` ${texts.get(pair.target)![i]}\n`,
    }))
  );
}
