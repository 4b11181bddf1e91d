/** Adapters by name, with settings: what `--method` and `--compose` build from. @module */
import {
  type Adapter,
  type AnyParams,
  butterfly,
  erase,
  givens,
  householder,
  hybrid,
  type LinearDims,
  lowRank,
  type MixOptions,
  type MixSpace,
  unitary,
} from "../adapters/mod.ts";
import { above0, number, oneOf, type Read, share, truth, whole } from "./readers.ts";

/** Settings of all adapters together; each uses some of them. */
export interface AdapterSettings {
  /** Rank of low-rank adapters; number of reflections of Householder's. */
  readonly rank: number;
  readonly alpha: number;
  /** γ of LoRA-GA. */
  readonly gamma: number;
  /** LoRA-GA's start as in the paper, or as in PEFT. */
  readonly variant: "paper" | "peft";
  /** Size of orthogonal blocks; null: the largest of 8, 4 and 2 that fits a map. */
  readonly block: number | null;
  /** Butterfly factors; null: 2 where they fit a map, else 1. */
  readonly factors: number | null;
  /** Layers of Givens rotations; null: as many as fit a map, at most 3. */
  readonly layers: number | null;
  /** Whether butterflies train a factor for each row too. */
  readonly rowScale: boolean;
  /** Share of orthogonal blocks that a step leaves out. */
  readonly dropout: number;
  /** Terms of the Neumann series in place of the exact Cayley map; null: exact. */
  readonly neumann: number | null;
  /** Where the hybrid's weights act, and what shares them. */
  readonly space: MixSpace;
  readonly scope: "module" | "layer";
  /** What the hybrid's low-rank branch reads. */
  readonly input: "rotated" | "raw";
  /** Share of a hybrid's old weights that a step keeps, and the least weight of a branch. */
  readonly ema: number;
  readonly clamp: number;
}

/** Settings of who asks for nothing else. */
export const DEFAULT_SETTINGS: AdapterSettings = {
  rank: 8,
  alpha: 16,
  gamma: 16,
  variant: "paper",
  block: null,
  factors: null,
  layers: null,
  rowScale: false,
  dropout: 0,
  neumann: null,
  space: "update",
  scope: "module",
  input: "rotated",
  ema: 0.9,
  clamp: 0.05,
};

/** No map is as wide. */
const MOST_RANK = 2 ** 16;
/** Each factor or layer doubles the distance of the features that mix; sizes have 31 bits. */
const MOST_DOUBLINGS = 31;
/** Terms of a Neumann series; where so many are needed it does not converge. */
export const MOST_TERMS = 64;

/** How each setting is read from text. */
export const SETTING_READERS: {
  readonly [K in keyof AdapterSettings]: Read<NonNullable<AdapterSettings[K]>>;
} = {
  rank: whole(1, MOST_RANK),
  alpha: above0,
  gamma: above0,
  variant: oneOf("paper", "peft"),
  block: whole(2, MOST_RANK),
  factors: whole(1, MOST_DOUBLINGS),
  layers: whole(1, MOST_DOUBLINGS),
  rowScale: truth,
  dropout: share,
  neumann: whole(2, MOST_TERMS),
  space: oneOf("update", "delta", "generator"),
  scope: oneOf("module", "layer"),
  input: oneOf("rotated", "raw"),
  ema: share,
  clamp: number("a number from 0 to below 0.5", (n) => n >= 0 && n < 0.5),
};

/** The settings that mixes of branches use. */
export const MIXING = ["space", "scope", "input", "ema", "clamp"] as const;

/** A mix as the settings say. */
export function mixOptions({ space, scope, input, ema, clamp }: AdapterSettings): Required<MixOptions> {
  const outermost = input === "rotated" ? "last" : "first";
  return { space, scope, ema, clamp: [clamp, 1 - clamp], outermost };
}

/** An adapter for the sizes of a map. */
export type MakeAdapter = (dims: LinearDims) => Adapter<AnyParams>;

/** An adapter that can be asked for by name. */
export interface AdapterSpec {
  /** The settings that it uses. */
  readonly uses: readonly (keyof AdapterSettings)[];
  readonly make: (settings: AdapterSettings) => MakeAdapter;
}

function spec<P>(
  uses: readonly (keyof AdapterSettings)[],
  adapter: (settings: AdapterSettings) => Adapter<P>,
): AdapterSpec {
  return { uses, make: (settings) => (dims) => erase(adapter(settings), dims) };
}

const LOW_RANK = ["rank", "alpha"] as const;
const LORA_GA = [...LOW_RANK, "gamma", "variant"] as const;
const ROTATION = ["block", "rowScale", "dropout", "neumann"] as const;
const BUTTERFLY = [...ROTATION, "factors"] as const;

function rotation({ neumann, ...settings }: AdapterSettings): Parameters<typeof butterfly>[0] {
  return { ...settings, cayley: neumann ?? "exact" };
}

/** All adapters by name. */
export const ADAPTERS = {
  lora: spec(LOW_RANK, (s) => lowRank(s)),
  rslora: spec(LOW_RANK, (s) => lowRank({ ...s, rankStabilised: true })),
  "lora-ga": spec(LORA_GA, (s) => lowRank({ ...s, start: "lora-ga", rankStabilised: true })),
  dora: spec(LOW_RANK, (s) => lowRank({ ...s, decomposed: true })),
  pissa: spec(LOW_RANK, (s) => lowRank({ ...s, start: "pissa" })),
  olora: spec(LOW_RANK, (s) => lowRank({ ...s, start: "olora" })),
  oft: spec(ROTATION, (s) => butterfly({ ...rotation(s), factors: 1 })),
  boft: spec(BUTTERFLY, (s) => butterfly(rotation(s))),
  hra: spec(["rank"], ({ rank }) => householder({ reflections: rank })),
  givens: spec(["layers"], ({ layers }) => givens({ layers })),
  unitary: spec([], () => unitary()),
  hybrid: spec(
    [...LORA_GA, ...BUTTERFLY, ...MIXING],
    (s) => hybrid({ ...s, ...rotation(s), ...mixOptions(s), rankStabilised: true }),
  ),
} as const satisfies Readonly<Record<string, AdapterSpec>>;

/** Name of an adapter. */
export type AdapterName = keyof typeof ADAPTERS;
