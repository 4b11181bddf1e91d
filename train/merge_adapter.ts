/** An adapter and its model as one model directory. @module */
import * as Effect from "effect/Effect";
import { loadAdapter, namedBase } from "./adapter_directory.ts";
import { exists, isEmptyDirectory, writeWhole } from "./atomic_file.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import { describeDevice, openDevice } from "./devices.ts";
import { UserError } from "./errors.ts";
import { countF16Overflow } from "./floats.ts";
import { modelDirectory } from "./hub.ts";
import { weightShapes } from "./decoder.ts";
import type { MergeOptions } from "./merge_options.ts";
import { decoderLayout } from "./methods.ts";
import { writeModel } from "./model_directory.ts";
import { adamW } from "./optimiser.ts";
import { attempt } from "./run.ts";
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
    const { model, checkpoint, adapter } = yield* attempt(async () => {
      if (exists(out) && !isEmptyDirectory(out)) {
        throw new UserError(`--out ${out}: there is something already; give a new directory.`, { out });
      }
      const model = await modelDirectory(options.model ?? baseOf(dir), { say });
      const checkpoint = loadCheckpoint(model, { dtype: "f32", shapes: weightShapes });
      return {
        model,
        checkpoint,
        adapter: loadAdapter(dir, decoderLayout(checkpoint.config), checkpoint.weights, { training: false }),
      };
    });
    const device = yield* openDevice(options.device);
    say(`model: ${model}; device: ${describeDevice(device.capabilities)}`);
    return yield* attempt(async () => {
      const { classes, values, weights } = adapter, { config } = checkpoint;
      const session = await openSession({
        ...{ device, subject: { config, classes }, weights, values },
        ...{ optimiser: adamW({ clip: 0 }), accumulate: 1, seed: 0, maxLength: 1 },
      });
      const all = await session.merged();
      const infinite = dtype === "f16"
        ? [...all.values()].reduce((n, { data }) => n + countF16Overflow(data as Float32Array), 0)
        : 0;
      if (infinite > 0) say(`warning: ${infinite} values are too large for f16; use --dtype f32 or bf16`);
      writeWhole(out, (to) => writeModel(to, model, all, dtype));
      const merged = classes.reduce((n, c) => n + c.members.length, 0);
      const bytes = Deno.statSync(`${out}/model.safetensors`).size;
      say(`${merged} weights merged: ${out}`);
      return { out, model, merged, bytes, infinite };
    });
  }));
}

/** The model that an adapter says it was trained on, where that is a directory. */
function baseOf(adapter: string): string {
  const named = namedBase(adapter);
  if (named !== null && exists(`${named}/config.json`)) return named;
  throw new UserError(
    named === null
      ? `${adapter}: does not say what model it belongs to; give --model DIR.`
      : `${adapter}: belongs to ${named}, which is no directory here; give --model DIR.`,
    { adapter, named },
  );
}
