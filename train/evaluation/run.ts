/** An evaluation from flags to numbers: read the data, open the model, run the task. @module */
import * as Effect from "effect/Effect";
import { exists, partialName, writeTextAtomically } from "../atomic_file.ts";
import { describeDevice, openDevice } from "../devices.ts";
import { isEncoderDirectory } from "../encoder_checkpoint.ts";
import { UserError } from "../errors.ts";
import { modelDirectory } from "../hub.ts";
import { openModel } from "../open_model.ts";
import { type AskedModel, askedModel, sayNamed } from "../asked_model.ts";
import { attempt } from "../attempt.ts";
import { loadModel, requirePositions } from "../load_model.ts";
import { evaluateEncoder } from "./encoder.ts";
import { type EvaluateFlags, LONGEST, type TaskName } from "./flags.ts";
import { prepareTask, requireTask } from "./prepare.ts";
import type { Follow, Numbers, Outcome } from "./task.ts";

/** What an evaluation reports; the keys are those of `--json`. */
export interface Evaluation {
  readonly task: TaskName;
  /** Null where no model was asked. */
  readonly model: string | null;
  readonly adapter: string | null;
  readonly data: readonly string[];
  readonly limit: number | null;
  readonly device: string | null;
  readonly metrics: Numbers;
  readonly parts: Outcome["parts"];
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** How the caller watches. */
export interface EvaluateHooks {
  /** A line for people. */
  readonly say: (line: string) => void;
  readonly follow: Follow;
  /** Opens the device; absent: {@linkcode openDevice}. */
  readonly open?: typeof openDevice;
}

/** Evaluate as asked. Fails with UserError for what the user can mend. */
export function evaluateModel(
  flags: EvaluateFlags,
  { say, follow, open = openDevice }: EvaluateHooks,
): Effect.Effect<Evaluation, UserError> {
  return Effect.scoped(Effect.gen(function* () {
    const options = yield* attempt(() => Promise.resolve({ ...flags, ...askedModel(flags) }));
    sayNamed(options, say);
    const task = requireTask(options), begun = performance.now();
    yield* attempt(() => Promise.resolve(requireWritable(options.out)));
    const subset = task === "glue" ? options.subset : null;
    if (subset !== null && (yield* attempt(() => isEncoder(options, say)))) {
      const { items, failure: _, ...outcome } = yield* evaluateEncoder(options, subset, { say, follow });
      return yield* attempt(() => {
        keepItems(options, items, say);
        const { model, adapter, data, limit } = options, seconds = (performance.now() - begun) / 1000;
        return Promise.resolve({ task, model, adapter, data, limit, ...outcome, seconds });
      });
    }
    const prepared = yield* attempt(() => prepareTask(options));
    const examinee = prepared.asks ? yield* openExaminee(options, say, open) : null;
    return yield* attempt(async (): Promise<Evaluation> => {
      const { items, failure, ...outcome } = await prepared.run(examinee, follow);
      keepItems(options, items, say);
      if (failure !== undefined) throw new UserError(failure);
      return {
        task,
        model: examinee ? options.model : null,
        adapter: examinee ? options.adapter : null,
        data: options.data,
        limit: options.limit,
        device: examinee?.device ?? null,
        ...outcome,
        seconds: (performance.now() - begun) / 1000,
      };
    });
  }));
}

/** Whether a model, given as a directory or as an id of the hub, is an encoder. */
async function isEncoder({ model, namedBy }: AskedModel, say: EvaluateHooks["say"]): Promise<boolean> {
  return isEncoderDirectory(await modelDirectory(model, { say, namedBy }));
}

/** Refuse a file that cannot be written to: it would be found out when all rows are done. */
function requireWritable(out: string | null): void {
  if (out === null) return;
  if (exists(out) && !Deno.statSync(out).isFile) {
    throw new UserError(`--out ${out}: is no file; give a file.`);
  }
  const trial = partialName(out);
  try {
    Deno.openSync(trial, { write: true, createNew: true }).close();
    Deno.removeSync(trial);
  } catch (error) {
    throw new UserError(
      `--out ${out}: cannot be written to (${(error as Error).message}); give another file.`,
      { out },
    );
  }
}

/** Write a record for each row where that is asked for. */
function keepItems(
  { out }: EvaluateFlags,
  items: Outcome["items"],
  say: EvaluateHooks["say"],
): void {
  if (out === null) return;
  writeTextAtomically(out, items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  say(`rows: ${out}`);
}

/** Load the model that is examined, and put it on its device. */
function openExaminee(
  options: EvaluateFlags & AskedModel,
  say: EvaluateHooks["say"],
  open: typeof openDevice,
) {
  return Effect.gen(function* () {
    const { checkpoint, tokenizer, seq } = yield* attempt(async () => {
      const model = await loadModel(options, say), { config } = model.checkpoint;
      const seq = options.seq ?? Math.min(config.maxPositions, LONGEST);
      requirePositions(seq, config);
      return { ...model, seq };
    });
    const device = yield* open(options.device, options.dtype === "f16");
    say(`device: ${describeDevice(device.capabilities)}`);
    const { adapter, seed } = options;
    const session = yield* attempt(() => openModel(device, checkpoint, { adapter, seed, maxLength: seq }));
    return {
      session,
      tokenizer,
      seq,
      device: `${device.capabilities.kind} (${device.capabilities.adapterName})`,
    };
  });
}
