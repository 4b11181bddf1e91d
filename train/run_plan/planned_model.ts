/** A model as far as plans ask for it: its sizes, and the graphs of a run. @module */
import type { Aval, Capabilities, Compiled } from "../../core/mod.ts";
import type { ShapeClass } from "../arena.ts";
import type { RunBytes } from "../count_run.ts";
import type { TrainOptions } from "../options.ts";

/** A model that is planned for; nothing of it is in memory. */
export interface PlannedModel {
  readonly name: string;
  readonly layers: number;
  /** Longest sequence. */
  readonly maxPositions: number;
  /** Whether all layers are alike, so that many follow from few. */
  readonly alike: boolean;
  /** All weights. */
  readonly shapes: ReadonlyMap<string, Aval>;
  /** The same model with the first few layers. */
  readonly cutTo: (layers: number) => PlannedModel;
  /** What is trained. Throws UserError and ShapeError for what cannot be. */
  readonly classes: (options: TrainOptions) => readonly ShapeClass[];
  /** The step of a batch whose rows have `length` positions. Throws ShapeError and UserError. */
  readonly step: (options: TrainOptions, capabilities: Capabilities, length: number) => Compiled;
  /**
   * A whole run whose batches come in all the lengths that they are padded to, held-out rows too where there are some.
   * Throws ShapeError and UserError.
   */
  readonly run: (options: TrainOptions, capabilities: Capabilities) => Promise<RunBytes>;
}

/** Weights as they are stored: maps in the run's element type, vectors in f32. */
export function storedShapes(
  shapes: ReadonlyMap<string, Aval>,
  { dtype }: Pick<TrainOptions, "dtype">,
): ReadonlyMap<string, Aval> {
  return new Map([...shapes].map(([name, at]) => [name, at.shape.length > 1 ? { ...at, dtype } : at]));
}
