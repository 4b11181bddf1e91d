/** What runs of all kinds keep while they train, and what they leave of what was trained. @module */
import type { Capabilities } from "../core/mod.ts";
import {
  exportPeft,
  loadAdapter,
  type LoadedAdapter,
  type PeftForm,
  saveAdapter,
  type SavedAdapter,
} from "./adapter_directory.ts";
import type { ShapeClass } from "./arena.ts";
import { dropBest } from "./best_state.ts";
import { NotFiniteError } from "./errors.ts";
import { evaluationScalars } from "./evaluated.ts";
import { layoutClasses, type MethodOptions, type ModelLayout } from "./methods.ts";
import type { TrainOptions } from "./options.ts";
import type { Measured, RunState } from "./state_files.ts";
import { saveCheckpoint } from "./run_checkpoint.ts";
import { openMetrics, writeSettings } from "./run_files.ts";
import { sweepOutput, writeResults } from "./run_output.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { Training } from "./training.ts";
import { withEvents } from "./tensorboard/event_file.ts";
import { type StepHooks, TOO_MANY_SKIPPED, type Trained } from "./train_loop.ts";

/** A run that is about to train. */
export interface RecordedRun {
  readonly options: TrainOptions;
  readonly session: Pick<Training<never>, "state">;
  readonly device: Pick<Capabilities, "kind" | "adapterName" | "gpu">;
  /** Digest of the rows. */
  readonly rows: string;
  readonly before: Measured | null;
  /** Whether the run goes on with an earlier part, which has told of `before`. */
  readonly resumed: boolean;
  /** Steps of earlier parts of the run, and their lines of the metrics. */
  readonly earlier: { readonly steps: number; readonly text: string };
}

/** What a run trains, and where it starts. */
export interface Trainees {
  /** The adapter that it goes on from. */
  readonly earlier: LoadedAdapter | null;
  readonly classes: readonly ShapeClass[];
  /** The settings of its method; null for a directory of PEFT, which says itself what it is. */
  readonly own: MethodOptions | null;
  /** The method's name, for people. */
  readonly method: string;
  /** The frozen weights. */
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

/** What `options` train in a model of this layout. Throws UserError and ShapeError, as the adapter or the method does. */
export function traineesOf(
  options: TrainOptions,
  layout: ModelLayout,
  weights: ReadonlyMap<string, StoredTensor>,
): Trainees {
  const earlier = options.adapter === null
    ? null
    : loadAdapter(options.adapter, layout, weights, { training: true });
  const own = earlier ? earlier.options : options;
  return {
    earlier,
    classes: earlier?.classes ?? layoutClasses(options, layout),
    own,
    method: own?.method ?? "peft",
    weights: earlier?.weights ?? weights,
  };
}

/** The processor of a run, for people. */
export function processorOf({ kind, adapterName }: Pick<Capabilities, "kind" | "adapterName">): string {
  return `${kind} (${adapterName})`;
}

/** What is kept while a run goes on. */
export interface Recording extends Pick<StepHooks, "open" | "save"> {
  /** What a state says of this run. */
  readonly stateAt: (at: { readonly step: number; readonly skipped: number }) => RunState;
}

/** Metrics, settings and checkpoints in a run's directory. Nothing is written before a step has gone through: until then a plan may prove too large for the device. */
export function recording(
  { options, session, device, rows, before, resumed, earlier }: RecordedRun,
): Recording {
  const { out, orthogonalLr, lr, keep } = options;
  const stateAt: Recording["stateAt"] = (at) => ({
    ...at,
    device: processorOf(device),
    rows,
    before,
    options: { ...options },
  });
  return {
    stateAt,
    open: () => {
      sweepOutput(out);
      if (!resumed) dropBest(out);
      const { config: _, ...asked } = options, { kind, gpu, adapterName } = device;
      // What --config repeats: the device that was chosen, as another provider's last bits would be others.
      const chosen = gpu ? `${kind}:${gpu.provider}` : kind;
      writeSettings(out, { ...asked, resume: false, device: chosen, adapter_name: adapterName });
      const metrics = openMetrics(out, earlier.text);
      if (!resumed && before) metrics.evaluated({ step: 0, found: before });
      return withEvents(metrics, out, {
        steps: earlier.steps,
        rateRatio: orthogonalLr / lr,
        ...(resumed ? {} : { before: evaluationScalars(before) }),
      });
    },
    save: async (at) => {
      const { tensors } = await session.state();
      await saveCheckpoint(out, stateAt(at), tensors, keep);
    },
  };
}

/**
 * Write what was trained: Gyre's own directory where `own` says what it is, and PEFT's where there are forms for it. Then
 * tell how the training ended. Throws NotFiniteError where it gave up.
 */
export function leaveTrained(
  out: string,
  saved: SavedAdapter,
  { own, forms, done }: {
    readonly own: MethodOptions | null;
    readonly forms: readonly PeftForm[] | null;
    readonly done: Trained;
  },
  say: (line: string) => void,
): void {
  if (own) writeResults(out, (to) => saveAdapter(`${to}/adapter`, own, saved));
  if (forms) {
    // An adapter of PEFT is written as it came; beside one of Gyre's own lies PEFT's form of it.
    const name = own ? "peft" : "adapter";
    writeResults(out, (to) => exportPeft(`${to}/${name}`, forms, saved));
    if (own) say(`for Hugging Face PEFT: ${out}/${name}${forms.length > 1 ? `-1 to -${forms.length}` : ""}`);
  }
  if (done.gaveUp) {
    throw new NotFiniteError(
      `${TOO_MANY_SKIPPED} steps had gradients that are not finite; what was trained before is saved in ` +
        `${out}/adapter. Try a lower --lr.`,
    );
  }
  if (done.interrupted) {
    say(
      `interrupted after step ${done.steps}: the adapter is saved in ${out}/adapter; --resume --out ${out} goes on`,
    );
  }
}
