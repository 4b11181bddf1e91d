/** The flags of `train.ts` as one table: what they take, what they mean, their defaults. @module */
import { DATA_FLAGS } from "./flags/data.ts";
import { METHOD_FLAGS } from "./flags/method.ts";
import { RUNNING_FLAGS } from "./flags/running.ts";
import { TRAINING_FLAGS } from "./flags/training.ts";
import type { Table } from "./train_options.ts";

export type { MethodName } from "./methods.ts";
export type { Read } from "./readers.ts";
export type { Site, Table, TrainOptions } from "./train_options.ts";

/** All flags, in the order of the help. */
export const FLAGS: Table = { ...DATA_FLAGS, ...METHOD_FLAGS, ...TRAINING_FLAGS, ...RUNNING_FLAGS };
