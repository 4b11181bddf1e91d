/** Rows of a comparison for language models: JSON lines to learn, and parts of files to measure on. @module */
import { DataError } from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { readText } from "../../train/data/text_file.ts";
import { parsePairs, TEMPLATE, translationPrompt } from "../../train/evaluation/flores.ts";
import { languageOf } from "../../train/evaluation/flores_files.ts";
import { valuesOf } from "../../train/rows.ts";
import type { RowOptions, TaskFiles } from "./files.ts";
import { spread } from "./spread.ts";
import type { TextTask } from "./suites.ts";

/** Write a task's rows to learn, `rows` at most, and the files to measure on with `evalRows` rows at most each. Throws DataError. */
export function writeTextFiles(
  { data, work, rows }: Pick<RowOptions, "data" | "work" | "rows">,
  { name, learns, train, dev }: TextTask,
  evalRows: number,
): TaskFiles {
  const files = train.map((file) => `${data}/${file}`);
  const learnt = learns === "translations" ? translations(files) : files.flatMap((file) => objects(file));
  const to = `${work}/data/${name}-train.jsonl`;
  writeTextAtomically(to, spread(learnt, rows).map((row) => `${JSON.stringify(row)}\n`).join(""));
  Deno.mkdirSync(`${work}/data/${name}`, { recursive: true });
  return {
    train: to,
    dev: dev.map((file) => {
      // Names say which language a file has, and how rows stand in it.
      const part = `${work}/data/${name}/${file.split("/").at(-1)!.replace(/\.gz$/, "")}`;
      const lines = readText(`${data}/${file}`).split("\n").filter((line) => line !== "");
      const head = /\.tsv(\.gz)?$/.test(file) ? lines.splice(0, 1) : [];
      writeTextAtomically(part, [...head, ...spread(lines, evalRows), ""].join("\n"));
      return part;
    }),
  };
}

function objects(file: string): unknown[] {
  return valuesOf(readText(file).replace(/^\uFEFF/, ""), file).map(({ json }) => json);
}

/** A translation to learn. */
interface Translation {
  readonly prompt: string;
  readonly completion: string;
}

/** Rows that ask as `evaluate.ts` does, from the first file's language into each other. */
function translations(files: readonly string[]): Translation[] {
  const texts = new Map(files.map((file) => [languageOf(file), readText(file).trimEnd().split(/\r?\n/)]));
  const lengths = [...texts.values()].map((lines) => lines.length);
  const odd = lengths.findIndex((n) => n !== lengths[0]);
  if (odd >= 0) {
    throw new DataError(
      `${files[odd]}: has ${lengths[odd]} lines and ${files[0]} has ${
        lengths[0]
      }; line n must be the same sentence in all.`,
      { files },
    );
  }
  const pairs = parsePairs(null, [...texts.keys()]);
  return texts.get(pairs[0]!.source)!.flatMap((sentence, i) =>
    pairs.map((pair) => ({
      prompt: translationPrompt(TEMPLATE, pair, sentence),
      completion: ` ${texts.get(pair.target)![i]}\n`,
    }))
  );
}
