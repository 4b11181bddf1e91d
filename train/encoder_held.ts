/** What an encoder predicts for held-out rows, scored as its task is. @module */
import { writeTextAtomically } from "./atomic_file.ts";
import type { Classifier, Predictions } from "./classifier.ts";
import type { Example } from "./data.ts";
import { type GlueScores, glueScores, type GlueTask } from "./evaluation/glue_tasks.ts";
import type { RunHooks } from "./guarded.ts";
import type { TrainOptions } from "./options.ts";
import type { Measured } from "./state_files.ts";
import type { HeldOut } from "./run_kind.ts";

/** Rows whose predictions are computed at once. */
export const PREDICTED = 32;

/** Predictions on the held-out rows, and what they come to. */
export interface Scored extends HeldOut {
  readonly scores: GlueScores;
  readonly predictions: Predictions;
}

/** Predict the held-out rows, of which there are some; null where the user stops it. */
export async function evaluateEncoder(
  session: Classifier,
  { task, held }: { readonly task: GlueTask; readonly held: readonly Example[] | null },
  { seq }: Pick<TrainOptions, "seq">,
  stopped: RunHooks["stopped"],
): Promise<Scored | null> {
  if (!held) return null;
  const predictions = await session.predict(held, { rows: PREDICTED, seq, stopped });
  if (!predictions) return null;
  const scores = glueScores(task, predictions.predicted, held.map((e) => e.classified!.target));
  const { loss } = predictions;
  return { predictions, scores, measured: { loss, exact: null, samples: [], metrics: scores.metrics } };
}

/** Write `predictions.tsv` and tell the task's metrics before and after. */
export function tellScores(
  task: GlueTask,
  before: Measured | null,
  after: Scored | null,
  { out }: Pick<TrainOptions, "out">,
  say: RunHooks["say"],
): void {
  if (!after) return;
  writeTextAtomically(`${out}/predictions.tsv`, predictionsTsv(task, after.predictions));
  say(`predictions: ${out}/predictions.tsv`);
  const was = (value: number | null | undefined): string =>
    typeof value !== "number" ? "" : `${value.toFixed(4)} → `;
  const list = Object.entries(after.scores.metrics).map(([name, v]) =>
    `${name} ${was(before?.metrics?.[name])}${v.toFixed(4)}`
  );
  say(`held-out loss ${was(before?.loss)}${after.predictions.loss.toFixed(4)}, ${list.join(", ")}`);
}

/** Predictions in the form of the benchmark's submissions: a line with the row's number and its label or number. */
function predictionsTsv(
  { target }: Pick<GlueTask, "target">,
  { predicted }: Pick<Predictions, "predicted">,
): string {
  const show = (x: number): string => target.kind === "classes" ? target.labels[x]! : x.toFixed(4);
  return ["index\tprediction", ...predicted.map((x, i) => `${i}\t${show(x)}`), ""].join("\n");
}
