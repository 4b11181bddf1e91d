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
  type MixSpace,
  unitary,
} from "../adapters/mod.ts";

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
  /** Layers of Givens rotations. */
  readonly layers: number;
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
}

/** Settings of who asks for nothing else. */
export const DEFAULT_SETTINGS: AdapterSettings = {
  rank: 8,
  alpha: 16,
  gamma: 16,
  variant: "paper",
  block: null,
  factors: null,
  layers: 3,
  rowScale: false,
  dropout: 0,
  neumann: null,
  space: "update",
  scope: "module",
  input: "rotated",
};

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
    [...LORA_GA, ...BUTTERFLY, "space", "scope", "input"],
    (s) => hybrid({ ...s, ...rotation(s), rankStabilised: true }),
  ),
} as const satisfies Readonly<Record<string, AdapterSpec>>;

/** Name of an adapter. */
export type AdapterName = keyof typeof ADAPTERS;
