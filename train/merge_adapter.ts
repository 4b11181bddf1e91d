/** An adapter and its model as one model directory. @module */
import * as Effect from "effect/Effect";
import type { Device } from "../core/mod.ts";
import { loadAdapter, namedTask } from "./adapter_directory.ts";
import type { ShapeClass } from "./arena.ts";
import { parentOf, writeWhole } from "./atomic_file.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import { openClassifier } from "./classifier.ts";
import { outputsOf } from "./classifier_objective.ts";
import { headFields } from "./encoder_run.ts";
import { weightShapes } from "./decoder.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { isEncoderDirectory, loadEncoder } from "./encoder_checkpoint.ts";
import { UserError } from "./errors.ts";
import { GLUE_TASKS, type GlueTaskName } from "./evaluation/glue_tasks.ts";
import { countF16Losses } from "./floats.ts";
import { modelDirectory } from "./hub.ts";
import type { MergeOptions } from "./merge_options.ts";
import { decoderLayout } from "./methods.ts";
import { writeModel } from "./model_directory.ts";
import { refuseFull, tryWriting } from "./output_directory.ts";
import { adamW } from "./optimiser.ts";
import { askedModel } from "./asked_model.ts";
import { attempt } from "./attempt.ts";
import type { HostTensor } from "./training.ts";
import { openSession } from "./session.ts";

/** What was merged; the keys are those of `--json`. */
export interface Merged {
  readonly out: string;
  readonly model: string;
  /** Weights that the adapter changed. */
  readonly merged: number;
  /** Of the weights in the file. */
  readonly bytes: number;
  /** Finite values that became infinite in f16; 0 is good. */
  readonly infinite: number;
}

/** Merge as asked: `out` is there whole or not at all. Fails with UserError for what the user can mend. */
export function mergeAdapter(
  options: MergeOptions,
  say: (line: string) => void,
): Effect.Effect<Merged, UserError> {
  const { adapter: dir, out, dtype } = options;
  return Effect.scoped(Effect.gen(function* () {
    const opened = yield* attempt(async () => {
      refuseFull(out);
      tryWriting(parentOf(out));
      const { model: name, namedBy } = askedModel(options);
      const model = await modelDirectory(name, { say, namedBy });
      return isEncoderDirectory(model) ? adaptedEncoder(model, dir) : adaptedDecoder(model, dir);
    });
    const device = yield* openDevice(options.device);
    const { model, classes, fields } = opened;
    say(`model: ${model}; device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(async () => {
      const all = await opened.merged(device);
      const infinite = dtype === "f16"
        ? [...all.values()].reduce((n, { data }) => n + countF16Losses(data as Float32Array).infinite, 0)
        : 0;
      if (infinite > 0) say(`warning: ${infinite} values are too large for f16; use --dtype f32 or bf16`);
      writeWhole(out, (to) => writeModel(to, model, all, dtype, fields));
      const merged = classes.reduce((n, c) => n + c.members.length, 0);
      const bytes = Deno.statSync(`${out}/model.safetensors`).size;
      say(`${merged} weights merged: ${out}`);
      return { out, model, merged, bytes, infinite };
    });
  }));
}

/** A model with its adapter, on the host. */
interface Adapted {
  readonly model: string;
  readonly classes: readonly ShapeClass[];
  /** Fields of `config.json` that the merged model has besides. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly merged: (device: Device) => Promise<ReadonlyMap<string, HostTensor>>;
}

/** What sessions have that only merge. */
const IDLE = { optimiser: adamW({ clip: 0 }), accumulate: 1, seed: 0 } as const;

function adaptedDecoder(model: string, dir: string): Adapted {
  const { config, weights: base } = loadCheckpoint(model, { dtype: "f32", shapes: weightShapes });
  const { classes, values, weights } = loadAdapter(dir, decoderLayout(config), base, { training: false });
  return {
    ...{ model, classes, fields: {} },
    merged: async (device) => {
      const subject = { config, classes };
      return await (await openSession({ ...IDLE, device, subject, weights, values, maxLength: 1 })).merged();
    },
  };
}

function adaptedEncoder(model: string, dir: string): Adapted {
  const named = namedTask(dir);
  if (named === null || !Object.hasOwn(GLUE_TASKS, named)) {
    throw new UserError(
      `${dir}: does not say for which task of GLUE its head is; give the directory "adapter" that a run left.`,
      { dir, task: named },
    );
  }
  const task = GLUE_TASKS[named as GlueTaskName], { target } = task;
  const loaded = loadEncoder(model, { dtype: "f32", outputs: outputsOf(target), seed: 0 });
  const { classes, values, weights } = loadAdapter(dir, loaded.layout, loaded.weights, { training: false });
  const { config } = loaded;
  return {
    ...{ model, classes, fields: headFields(config, task) },
    merged: async (device) => {
      const subject = { config, target, classes };
      return await (await openClassifier({ ...IDLE, device, subject, weights, values })).merged();
    },
  };
}
