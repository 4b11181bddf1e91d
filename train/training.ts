/** Parameters in training on a device: what steps report and change, whatever they are trained for. @module */
import type { Aval, Device, DeviceArray, HostArray } from "../core/mod.ts";
import type { ShapeClass } from "./arena.ts";
import type { GivenValues } from "./given.ts";
import type { Optimiser } from "./optimiser.ts";
import type { Runner } from "./runner.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { StartPass } from "./start_factors.ts";
import type { Objective } from "./step.ts";
import type { StepBytes } from "./step_bytes.ts";

/** Numbers of a weight on the host. */
export type HostTensor = StoredTensor;

/** What a step reports, once it is read back. */
export interface StepMetrics {
  readonly loss: number;
  readonly gradNorm: number;
  /** What the loss was multiplied by, where it is scaled. */
  readonly lossScale?: number;
  /** λ after this step; empty without mixed adapters. */
  readonly lambdas: Lambdas;
}

/** Weight of each branch of a mixed adapter, by the path of the adapted map (and of the mix, if it is inside another adapter). */
export type Lambdas = Readonly<Record<string, readonly number[]>>;

/** All that steps change. */
export interface SessionState {
  /** Optimiser steps done, those that were left out included; they also decide the next step's key. */
  readonly steps: number;
  /** Arenas `params.<key>` and the optimiser's state `optimiser.<name>`, f32. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** Parameters in training on a device, whatever they are trained for; `B` is a batch on the host. */
export interface Training<B> {
  /** One optimiser step at these learning rates. Queued; the promise resolves when the numbers are back. */
  readonly step: (
    batch: B,
    rates: { readonly plain: number; readonly orthogonal: number },
  ) => Promise<StepMetrics>;
  readonly lambdas: () => Promise<Lambdas>;
  /** What first is not finite in the computation of step `step` on this batch, as things stand; null where all is. */
  readonly firstNotFinite: (batch: B, step: number) => Promise<string | null>;
  /** Trained values by member and leaf path, f32. */
  readonly trained: () => Promise<ReadonlyMap<string, ReadonlyMap<string, HostTensor>>>;
  /** What {@linkcode Session.restore} needs to go on bit for bit; to be asked for when no step is under way. */
  readonly state: () => Promise<SessionState>;
  /** Go on from a state of an equal session. Throws ShapeError where its tensors are not those of this session. */
  readonly restore: (state: SessionState) => void;
  /** All weights of the model with what was trained merged in: f32 where something was, the others as they came. */
  readonly merged: () => Promise<ReadonlyMap<string, HostTensor>>;
  /** Merged weights f32 of these maps, or weights that are trained themselves, alone. */
  readonly mergedOnly: (members: ReadonlySet<string>) => Promise<ReadonlyMap<string, HostTensor>>;
  /**
   * Seconds spent compiling so far, bytes that the largest plan needs besides weights and state, and what the training
   * step needs (of several shapes the largest; null before the first step).
   */
  readonly stats: () => {
    readonly compileSeconds: number;
    readonly temporaryBytes: number;
    readonly step: StepBytes | null;
  };
}

/** Where any model's training begins. */
export interface StartOptions {
  readonly device: Device;
  readonly weights: ReadonlyMap<string, HostTensor>;
  readonly optimiser: Optimiser;
  readonly accumulate: number;
  readonly seed: number;
  /** Parameters that do not start as their adapter starts them, by member and leaf path. */
  readonly values?: GivenValues;
  /** Adam's β, for the bias corrections. */
  readonly betas?: readonly [number, number];
  /** A line for people on what the start cost. */
  readonly say?: (line: string) => void;
}

/** Options of `openTraining`. */
export interface TrainingOptions<B> extends StartOptions {
  readonly classes: readonly ShapeClass[];
  readonly objective: Objective;
  /** Tensors that the model reads beside its weights, by name. */
  readonly tables: ReadonlyMap<string, HostTensor>;
  /** What the objective reads of a batch, by name. */
  readonly inputs: (batch: B) => Readonly<Record<string, HostTensor>>;
  /** How gradients of whole weights are computed, for adapters that start from them. */
  readonly start: (
    frozen: Readonly<Record<string, Aval>>,
    arrays: StartPass["arrays"],
  ) => Pick<StartPass, "batches" | "gradients">;
}

/** A training with what graphs of its model are made of. */
export interface OpenTraining<B> extends Training<B> {
  /** Frozen weights and tables, and arenas. */
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly params: Readonly<Record<string, Aval>>;
  /** Their arrays, as `weights.<name>` and `params.<key>`. */
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  /** Compiled graphs by name; what they cost is in the training's stats. */
  readonly runner: (name: string, make: () => Promise<Runner>) => Promise<Runner>;
  /** An input array by name, written anew. */
  readonly feed: (name: string, at: Aval, data: HostArray) => DeviceArray;
  /** The arrays, and those of a batch as `batch.<name>`. */
  readonly withBatch: (batch: B) => Map<string, DeviceArray>;
  readonly batchAvals: (batch: B) => Readonly<Record<string, Aval>>;
}
