/** GLUE for encoders: a head's predictions for every row, scored as the benchmark does. arXiv:1804.07461. @module */
import * as Effect from "effect/Effect";
import { loadAdapter, namedTask } from "../adapter_directory.ts";
import { openClassifier } from "../classifier.ts";
import { outputsOf } from "../classifier_objective.ts";
import { loadLabelled } from "../classify_data.ts";
import type { Example } from "../data.ts";
import { describeDevice, openDevice } from "../devices.ts";
import { loadEncoder } from "../encoder_checkpoint.ts";
import { loadSentenceTokenizer } from "../encoder_tokenizer.ts";
import { UserError } from "../errors.ts";
import { modelDirectory } from "../hub.ts";
import { adamW } from "../optimiser.ts";
import { attempt } from "../attempt.ts";
import { rangeSayer } from "../f16_range.ts";
import { requirePositions } from "../load_model.ts";
import { type EvaluateFlags, LONGEST } from "./flags.ts";
import { GLUE_TASKS, glueScores, type GlueTask, type GlueTaskName } from "./glue_tasks.ts";
import type { Follow, Numbers, Outcome } from "./task.ts";

/** What an encoder is asked. */
export type EncoderRequest =
  & { readonly model: string }
  & Pick<
    EvaluateFlags,
    "adapter" | "data" | "limit" | "seq" | "batch" | "device" | "dtype" | "seed"
  >;

/** What came out, and where it was computed. */
export interface EncoderOutcome extends Outcome {
  readonly device: string;
}

/** Rows of a file with what is predicted for them. */
interface Part {
  readonly name: string;
  readonly examples: readonly Example[];
  readonly predicted: readonly number[];
}

/**
 * Predict every row of a task's files, which are scored together, and each alone where there are several. Fails with
 * UserError for what the user can mend, such as a model whose head nothing has trained.
 */
export function evaluateEncoder(
  request: EncoderRequest,
  name: GlueTaskName,
  { say, follow }: { readonly say: (line: string) => void; readonly follow: Follow },
): Effect.Effect<EncoderOutcome, UserError> {
  const { model, dtype, seed, batch, limit } = request, task = GLUE_TASKS[name];
  return Effect.scoped(Effect.gen(function* () {
    const loaded = yield* attempt(async () => {
      const dir = await modelDirectory(model, { say });
      const checkpoint = loadEncoder(dir, {
        dtype,
        seed,
        outputs: outputsOf(task.target),
        lost: rangeSayer(say),
      });
      const { config, fresh, layout, weights } = checkpoint;
      const adapter = request.adapter === null
        ? null
        : loadAdapter(request.adapter, layout, weights, { training: false });
      if (fresh.length > 0 && !adapter) {
        throw new UserError(
          `${model}: has no head for ${name} (${
            fresh.join(", ")
          }); give an --adapter that was trained for it.`,
        );
      }
      const seq = request.seq ?? Math.min(config.maxPositions, LONGEST);
      requirePositions(seq, config);
      const tokenizer = loadSentenceTokenizer(dir, config);
      const files = await Promise.all(request.data.map(async (file) => {
        const { examples, truncated } = await loadLabelled(file, task, tokenizer, seq);
        return { name: file.slice(file.lastIndexOf("/") + 1), examples, truncated };
      }));
      const learnt = request.adapter === null ? null : namedTask(request.adapter);
      const other = learnt === null || learnt === name ? [] : [
        `the head was trained for ${learnt}, not for ${name}: its outputs stand for ${name}'s labels in order`,
      ];
      return { checkpoint, adapter, seq, files, other };
    });
    const device = yield* openDevice(request.device, dtype === "f16");
    say(`device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(async (): Promise<EncoderOutcome> => {
      const { checkpoint: { config, weights }, adapter, seq, files, other } = loaded;
      const session = await openClassifier({
        device,
        subject: { config, target: task.target, classes: adapter?.classes ?? [] },
        weights: adapter?.weights ?? weights,
        optimiser: adamW({ clip: 0 }),
        accumulate: 1,
        seed,
        ...(adapter ? { values: adapter.values } : {}),
      });
      const parts: Part[] = [], cut = files.reduce((n, f) => n + f.truncated, 0);
      const total = files.reduce((n, f) => n + Math.min(f.examples.length, limit ?? Infinity), 0);
      for (const { name, examples } of files) {
        const asked = examples.slice(0, limit ?? Infinity);
        const { predicted } = (await session.predict(asked, { rows: batch, seq }))!;
        parts.push({ name, examples: asked, predicted });
        follow(parts.reduce((n, p) => n + p.examples.length, 0), total);
      }
      return {
        ...outcomeOf(task, parts),
        notes: [...other, ...(cut === 0 ? [] : [`${cut} rows were cut to ${seq} tokens`])],
        device: `${device.capabilities.kind} (${device.capabilities.adapterName})`,
      };
    });
  }));
}

function outcomeOf(task: GlueTask, parts: readonly Part[]): Omit<Outcome, "notes"> {
  const truthOf = ({ examples }: Part): number[] => examples.map((e) => e.classified!.target);
  const numbers = (predicted: readonly number[], truth: readonly number[]): Numbers => {
    const { metrics, score } = glueScores(task, predicted, truth);
    const all = Object.entries({ ...metrics, score })
      .map(([name, value]) => [name, Number.isFinite(value) ? value : null] as const);
    return { ...Object.fromEntries(all), rows: truth.length };
  };
  const show = (x: number): string | number => task.target.kind === "classes" ? task.target.labels[x]! : x;
  return {
    metrics: numbers(parts.flatMap((p) => p.predicted), parts.flatMap(truthOf)),
    parts: parts.length < 2
      ? []
      : parts.map((p) => ({ name: p.name, metrics: numbers(p.predicted, truthOf(p)) })),
    items: parts.flatMap((p) =>
      p.examples.map((e, i) => ({
        file: p.name,
        row: i,
        sentences: e.prompt,
        predicted: show(p.predicted[i]!),
        expected: show(e.classified!.target),
      }))
    ),
  };
}
