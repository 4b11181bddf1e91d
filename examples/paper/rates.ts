/** Learning rates of a comparison, by method. @module */
import { type MethodName, METHODS, parseOptions } from "../../train/mod.ts";
import type { TuneRecord } from "./records.ts";
import type { PaperTask } from "./suites.ts";

/** Learning rates of a run: of orthogonal parameters, and of all others, a head's too. */
export interface Rates {
  readonly lr: number;
  readonly orthogonalLr: number;
}

/** Rate of a fresh head beside orthogonal parameters, which take higher ones. */
const HEAD = 5e-4;

/**
 * Learning rates for encoders by method, from which `--tune` sets out: the head must not be driven further than it can go,
 * whatever the adapter takes.
 */
const ENCODER_RATES: Readonly<Record<MethodName, Rates>> = {
  full: { lr: 1e-4, orthogonalLr: 5e-5 },
  lora: { lr: 7e-4, orthogonalLr: 3.5e-4 },
  rslora: { lr: 5e-4, orthogonalLr: 2.5e-4 },
  dora: { lr: 7e-4, orthogonalLr: 3.5e-4 },
  "lora-ga": { lr: 2e-4, orthogonalLr: 1e-4 },
  pissa: { lr: 5e-4, orthogonalLr: 2.5e-4 },
  olora: { lr: 5e-4, orthogonalLr: 2.5e-4 },
  hybrid: { lr: 2e-4, orthogonalLr: 4e-3 },
  oft: { lr: HEAD, orthogonalLr: 5e-3 },
  boft: { lr: HEAD, orthogonalLr: 5e-3 },
  hra: { lr: HEAD, orthogonalLr: 1e-2 },
  givens: { lr: HEAD, orthogonalLr: 2e-2 },
  unitary: { lr: HEAD, orthogonalLr: 2e-2 },
};

/** Methods that train orthogonal parameters alone beside a head. */
const ORTHOGONAL: readonly MethodName[] = ["oft", "boft", "hra", "givens", "unitary"];

/** Where rates come from; `model` is the model's directory. */
export interface RateSource {
  readonly rates: ReadonlyMap<MethodName, number>;
  /** What was chosen by trying, by kind of task and method. */
  readonly tuned: ReadonlyMap<string, Rates>;
  readonly model: string;
  readonly root: string;
}

/** The name of a choice. */
function choiceName(kind: PaperTask["kind"], method: MethodName): string {
  return `${kind} ${method}`;
}

/**
 * The learning rates of a method. Those given stand before those that were chosen by trying, and these before what is
 * usual: for encoders the list above, else the defaults of `train.ts`.
 */
export function ratesOf(source: RateSource, method: MethodName, kind: PaperTask["kind"]): Rates {
  const given = source.rates.get(method);
  if (given !== undefined) return withRate(usualRates(source, method, kind), method, given);
  return source.tuned.get(choiceName(kind, method)) ?? usualRates(source, method, kind);
}

/** Rates with another one of what the method is about: its orthogonal parameters, or all, in the same proportion. */
function withRate({ lr, orthogonalLr }: Rates, method: MethodName, rate: number): Rates {
  return ORTHOGONAL.includes(method)
    ? { lr, orthogonalLr: rate }
    : { lr: rate, orthogonalLr: rate * (orthogonalLr / lr) };
}

/** Rates to set out from. */
export function usualRates(
  { model, root }: Pick<RateSource, "model" | "root">,
  method: MethodName,
  kind: PaperTask["kind"],
): Rates {
  if (kind === "sentences") return ENCODER_RATES[method];
  const argv = [`--model=${model}`, `--method=${method}`];
  const { lr, orthogonalLr } = parseOptions(argv, { root, now: new Date(0) });
  return { lr, orthogonalLr };
}

/** Rates to try. */
export function triedRates(usual: Rates, method: MethodName, multiples: readonly number[]): Rates[] {
  const rate = ORTHOGONAL.includes(method) ? usual.orthogonalLr : usual.lr;
  const round = (x: number): number => Number(x.toPrecision(3));
  return multiples.map((m) => {
    const { lr, orthogonalLr } = withRate(usual, method, rate * m);
    return { lr: round(lr), orthogonalLr: round(orthogonalLr) };
  });
}

/**
 * The choice among rates that were tried, by kind and method: the least held-out loss, as a multiple of the least that the
 * method came to on a task, on average over the tasks. Rates with a run that was not finite, or that lack a task, are out.
 */
export function chosenRates(
  trials: readonly TuneRecord[],
  kindOf: (task: string) => PaperTask["kind"],
): Map<string, Rates> {
  const chosen = new Map<string, Rates>();
  for (const method of METHODS) {
    for (const [kind, own] of Map.groupBy(trials.filter((t) => t.method === method), (t) => kindOf(t.task))) {
      const least = new Map(
        [...Map.groupBy(own, (t) => t.task)].map(([task, list]) => [
          task,
          Math.min(...list.map((t) => t.loss ?? Infinity)),
        ]),
      );
      const scored = [...Map.groupBy(own, ({ rates: { lr, orthogonalLr } }) => `${lr} ${orthogonalLr}`)]
        .flatMap(([, list]) => {
          const over = list.reduce((sum, t) => sum + (t.loss ?? Infinity) / least.get(t.task)!, 0);
          return list.length === least.size && Number.isFinite(over) ? [{ rates: list[0]!.rates, over }] : [];
        });
      const best = scored.toSorted((a, b) => a.over - b.over)[0];
      if (best) chosen.set(choiceName(kind, method), best.rates);
    }
  }
  return chosen;
}
