/** What a whole run of any kind needs on a device, found from the rows that it would read. @module */
import type { Capabilities } from "../core/mod.ts";
import type { TokenBatch } from "./batches.ts";
import { countRun, type RunBytes, withoutNumbers } from "./count_run.ts";
import { lengthSamples } from "./data/preview.ts";
import type { HeldOut, LoadedRun, RunKind, RunSubject } from "./run_kind.ts";
import type { Trainees } from "./run_record.ts";
import { shownMaps } from "./run_report/leave.ts";
import { startOf } from "./run_start.ts";
import type { Training } from "./training.ts";

/** Epochs whose batches are looked at for their lengths. */
const EPOCHS_SEEN = 3;

/**
 * Go through a run of this kind, with its own rows, tasks and starts, on a device that only counts. Throws ShapeError, and
 * PlanError where a plan does not fit the device.
 */
export async function countKind<L extends LoadedRun, S extends Training<TokenBatch>, M extends HeldOut, R>(
  kind: RunKind<L, S, M, R>,
  subject: RunSubject<L>,
  { earlier }: Pick<Trainees, "earlier">,
  capabilities: Capabilities,
  steps: number,
): Promise<RunBytes> {
  const { options, loaded, classes, weights } = subject;
  const empty = { ...subject, weights: withoutNumbers(weights) };
  // Later epochs bring no lengths that a few do not.
  const samples = lengthSamples(loaded.train, { ...options, epochs: EPOCHS_SEEN }, steps);
  let found: M | null = null;
  return await countRun(capabilities, {
    open: (device) => kind.open(empty, startOf(device, empty, { earlier }, () => {})),
    evaluate: async (session) => {
      // Tasks are not measured here but gone through: what they judge by may start programs.
      if (loaded.held) found = await kind.evaluate(session, { ...loaded, tasks: [] }, options, () => false);
    },
    tasks: (session) => kind.rehearse(session, loaded),
    answer: async (session) => found && await kind.complete(session, loaded, found, options),
    step: async (session) => {
      for (const batch of samples) await session.step(batch, { plain: 0, orthogonal: 0 });
    },
    leave: (session) => session.mergedOnly(new Set(shownMaps({ classes, base: weights }))),
  });
}
