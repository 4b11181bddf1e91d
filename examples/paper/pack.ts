/** A comparison's model and files, small enough to travel to another machine. @module */
import { gzipSync } from "node:zlib";
import { GLUE_TASKS, loadEncoder, outputsOf, type StoredTensor } from "../../train/mod.ts";
import { writeAtomically } from "../../train/atomic_file.ts";
import { isParquet } from "../../train/data/row_parts.ts";
import { readBytes } from "../../train/data/text_file.ts";
import { loadModel } from "../../train/load_model.ts";
import { writeModel } from "../../train/model_directory.ts";
import { publishedFile } from "./published.ts";
import type { PaperTask } from "./suites.ts";

/**
 * Write `<to>/model`, the model with its weights rounded to f16, and `<to>/data`, the tasks' files packed by gzip under
 * the names that they have. Both makers then read the same rounded weights. Rejects with DataError and CheckpointError.
 */
export async function pack(
  model: string,
  data: string,
  to: string,
  tasks: readonly PaperTask[],
): Promise<void> {
  writeModel(`${to}/model`, model, await weightsOf(model, tasks), "f16");
  for (const name of tasks.flatMap(({ train, dev }) => [...train, ...dev])) {
    const file = publishedFile(data, name)!, target = `${to}/data${file.slice(data.length)}`;
    Deno.mkdirSync(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    const bytes = readBytes(file), packed = isParquet(file) || (bytes[0] === 0x1f && bytes[1] === 0x8b);
    writeAtomically(target, [packed ? bytes : gzipSync(bytes, { level: 9 })]);
  }
}

async function weightsOf(
  model: string,
  tasks: readonly PaperTask[],
): Promise<ReadonlyMap<string, StoredTensor>> {
  const sentences = tasks.find((task) => task.kind === "sentences");
  if (!sentences) return (await loadModel({ model, dtype: "f32" }, () => {})).checkpoint.weights;
  const outputs = outputsOf(GLUE_TASKS[sentences.glue].target);
  const { weights, fresh } = loadEncoder(model, { dtype: "f32", outputs, seed: 0 });
  // A head that is drawn anew is no part of the model.
  return new Map([...weights].filter(([name]) => !fresh.includes(name)));
}
