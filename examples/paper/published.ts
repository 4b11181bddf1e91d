/** The published files of a comparison: where they are, also as parquet, and their rows as lines. @module */
import { DataError, GLUE_TASKS, type GlueTaskName } from "../../train/mod.ts";
import { exists } from "../../train/atomic_file.ts";
import { isParquet } from "../../train/data/row_parts.ts";
import { readText } from "../../train/data/text_file.ts";
import { labelledIn } from "../../train/evaluation/labelled_rows.ts";
import type { PaperTask } from "./suites.ts";

/** A file below the directory of data, or the one of parquet in its place, `train.parquet` for `train.tsv`; null where neither is. */
export function publishedFile(data: string, name: string): string | null {
  const parquet = name.replace(/(\.[a-z]+)(\.gz)?$/, ".parquet");
  return [name, parquet].map((file) => `${data}/${file}`).find(exists) ?? null;
}

/** Refuse tasks whose files are not there. Throws DataError naming all that lack. */
export function requireFiles(data: string, tasks: readonly PaperTask[]): void {
  const lacking = tasks.flatMap(({ train, dev }) => [...train, ...dev]).filter((file) =>
    publishedFile(data, file) === null
  );
  if (lacking.length === 0) return;
  throw new DataError(
    `--data ${data}: has no ${
      lacking.join(", ")
    }; put the files there, or the like of parquet (docs/PAPER.md says where they come from), or choose other tasks ` +
      "with --tasks.",
    { data, lacking },
  );
}

/** The lines of a text that are not empty. Throws DataError. */
export function linesOf(file: string): string[] {
  return readText(file).split("\n").filter((line) => line !== "");
}

/** The lines of a task of GLUE as the benchmark publishes them, with the names where it has them, of parquet too. Rejects with DataError. */
export async function glueLines(file: string, name: GlueTaskName): Promise<string[]> {
  if (!isParquet(file)) return linesOf(file);
  const task = GLUE_TASKS[name], { target } = task;
  const rows = (await labelledIn(file, task)).map(({ sentences, target: value }) => [
    ...sentences.map((text) => text.replaceAll(/\s+/g, " ")),
    target.kind === "classes" ? target.labels[value]! : `${value}`,
  ]);
  const order = [...task.sentences, task.label];
  if (task.named) return [order, ...rows].map((cells) => cells.join("\t"));
  return rows.map((cells) =>
    Array.from({ length: task.cells! }, (_, place) => cells[order.indexOf(place)] ?? "").join("\t")
  );
}
