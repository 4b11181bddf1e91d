/** A comparison's model and files, small enough to travel to another machine. @module */
import { gzipSync } from "node:zlib";
import { loadEncoder, outputsOf } from "../../train/mod.ts";
import { GLUE_TASKS } from "../../train/mod.ts";
import { writeAtomically } from "../../train/atomic_file.ts";
import { readBytes } from "../../train/data/text_file.ts";
import { writeModel } from "../../train/model_directory.ts";
import type { PaperTask } from "./suites.ts";

/**
 * Write `<to>/model`, the model with its weights rounded to f16, and `<to>/data`, the tasks' files packed by gzip under
 * the names that they have. Both makers then read the same rounded weights. Throws DataError and CheckpointError.
 */
export function pack(model: string, data: string, to: string, tasks: readonly PaperTask[]): void {
  const outputs = outputsOf(GLUE_TASKS[tasks[0]!.glue].target);
  const { weights, fresh } = loadEncoder(model, { dtype: "f32", outputs, seed: 0 });
  // A head that is drawn anew is no part of the model.
  writeModel(`${to}/model`, model, new Map([...weights].filter(([name]) => !fresh.includes(name))), "f16");
  for (const file of tasks.flatMap(({ train, dev }) => [...train, ...dev])) {
    const target = `${to}/data/${file}`;
    Deno.mkdirSync(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    const bytes = readBytes(`${data}/${file}`), packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    writeAtomically(target, [packed ? bytes : gzipSync(bytes, { level: 9 })]);
  }
}
