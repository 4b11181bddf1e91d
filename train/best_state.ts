/** The state of a run with the least held-out loss: `<out>/best`. @module */
import { exists, removeWhole } from "./atomic_file.ts";
import { ResumeError } from "./errors.ts";
import type { Evaluated } from "./evaluated.ts";
import { type Damaged, readHead, readTensors, type RunState, writeState } from "./state_files.ts";
import type { SessionState, Training } from "./training.ts";

/** A state and its held-out loss. */
export interface Best {
  readonly step: number;
  readonly loss: number;
}

/** Where the best state is kept. */
export interface BestKeeper {
  readonly best: () => Best | null;
  /** Keep what the session holds if its loss is less than all before. */
  readonly offer: (state: RunState, found: Evaluated) => Promise<void>;
  /** Read the best state. Throws ResumeError where it is damaged. */
  readonly read: () => Promise<SessionState>;
}

const place = (out: string): string => `${out}/best`;

/** Keep the best state of the run in `out`; where it is `resumed`, going on with what an earlier part kept. Throws ResumeError where that is damaged. */
export async function openBest(
  out: string,
  session: Pick<Training<never>, "state">,
  resumed: boolean,
): Promise<BestKeeper> {
  const dir = place(out);
  const damaged: Damaged = (what) =>
    new ResumeError(`${what}: the best state is damaged; remove ${dir} to go on without it.`, { dir });
  let best: Best | null = null;
  if (resumed && exists(dir)) {
    const { state: { step, evaluated } } = await readHead(dir, damaged);
    if (typeof evaluated?.loss === "number") best = { step, loss: evaluated.loss };
  }
  return {
    best: () => best,
    offer: async (state, evaluated) => {
      const { loss } = evaluated;
      // A loss that is NaN is less than none.
      if (loss === null || !(loss < (best?.loss ?? Infinity))) return;
      await writeState(dir, { ...state, evaluated }, (await session.state()).tensors);
      best = { step: state.step, loss };
    },
    read: async () => {
      const head = await readHead(dir, damaged);
      return { steps: head.state.step, tensors: await readTensors(dir, head, damaged) };
    },
  };
}

/** Remove the best state of a run that is begun anew. */
export function dropBest(out: string): void {
  if (exists(place(out))) removeWhole(place(out));
}
