/** The adapters under test: sizes they take, parameter counts in closed form, and what they promise. @module */
import {
  type Adapter,
  butterfly,
  compose,
  givens,
  gradNormShare,
  householder,
  hybrid,
  identity,
  type LinearDims,
  lowRank,
  mix,
  on,
  parallel,
  type Placement,
  scale,
  unitary,
} from "../adapters/mod.ts";

/** An adapter as the checks need it. */
export interface AdapterRow {
  readonly name: string;
  /** Fits the adapter to sizes. */
  readonly fit: Placement["fit"];
  /** Sizes for the numerical checks, `outDim` ≤ `inDim`. */
  readonly dims: LinearDims;
  /** Number of trained values. */
  readonly parameters: (dims: LinearDims) => number;
  /** Whether W' = W·R with R orthogonal at any parameters. */
  readonly isOrthogonal: boolean;
  /** Whether merging has an inverse in closed form. */
  readonly isInvertible: boolean;
  /** Whether norms count as constants in its derivatives (DoRA). */
  readonly holdsNorms: boolean;
}

const dims: LinearDims = { inDim: 16, outDim: 12 };

function row<P>(
  name: string,
  adapter: Adapter<P>,
  parameters: AdapterRow["parameters"],
  options: Partial<Pick<AdapterRow, "isOrthogonal" | "isInvertible" | "holdsNorms" | "dims">> = {},
): AdapterRow {
  return {
    name,
    fit: on("*", adapter).fit,
    parameters,
    dims: options.dims ?? dims,
    isOrthogonal: options.isOrthogonal ?? false,
    isInvertible: options.isInvertible ?? true,
    holdsNorms: options.holdsNorms ?? false,
  };
}

/** rank·(in + out). */
const lowRankCount = (rank: number) => ({ inDim, outDim }: LinearDims): number => rank * (inDim + outDim);
/** rank·(in + out) + out. */
const doraCount = (rank: number) => (at: LinearDims): number => lowRankCount(rank)(at) + at.outDim;
/** m·in·(b − 1)/2. */
const butterflyCount = (block: number, factors: number) => ({ inDim }: LinearDims): number =>
  (factors * inDim * (block - 1)) / 2;
/** 7n for in = 2n. */
const unitaryCount = ({ inDim }: LinearDims): number => (7 * inDim) / 2;
const sumOf = (...counts: AdapterRow["parameters"][]) => (at: LinearDims): number =>
  counts.reduce((n, count) => n + count(at), 0);

const lora = lowRank({ rank: 3, alpha: 6 });
const boft = butterfly({ block: 4, factors: 2 });
const dora = lowRank({ rank: 3, alpha: 6, decomposed: true });
const loraCount = lowRankCount(3), boftCount = butterflyCount(4, 2);

/** One row an adapter; add yours here. */
export const adapterRows: readonly AdapterRow[] = [
  row("identity", identity, () => 0, { isOrthogonal: true }),
  row("lowRank", lora, loraCount),
  row("lowRank of rank 1 on a square map", lowRank({ rank: 1, alpha: 1 }), lowRankCount(1), {
    dims: { inDim: 8, outDim: 8 },
  }),
  row("LoRA-GA", lowRank({ rank: 3, alpha: 6, start: "lora-ga", rankStabilised: true }), lowRankCount(3)),
  row(
    "LoRA-GA as in PEFT",
    lowRank({ rank: 3, alpha: 6, start: "lora-ga", variant: "peft" }),
    lowRankCount(3),
  ),
  row("PiSSA", lowRank({ rank: 3, alpha: 6, start: "pissa" }), lowRankCount(3)),
  row("OLoRA", lowRank({ rank: 3, alpha: 6, start: "olora" }), lowRankCount(3)),
  row("DoRA", dora, doraCount(3), { holdsNorms: true }),
  row(
    "DoRA from LoRA-GA",
    lowRank({ rank: 3, alpha: 6, start: "lora-ga", decomposed: true }),
    doraCount(3),
    { holdsNorms: true },
  ),
  row("DoRA ∘ butterfly", compose(dora, boft), sumOf(doraCount(3), boftCount), { holdsNorms: true }),
  row("butterfly ∘ DoRA", compose(boft, dora), sumOf(boftCount, doraCount(3)), { holdsNorms: true }),
  row("rsLoRA", lowRank({ rank: 4, alpha: 8, rankStabilised: true }), lowRankCount(4)),
  row("butterfly, 1 factor", butterfly({ block: 4, factors: 1 }), butterflyCount(4, 1), {
    isOrthogonal: true,
  }),
  row("butterfly, 1 factor, odd block", butterfly({ block: 5, factors: 1 }), butterflyCount(5, 1), {
    isOrthogonal: true,
    dims: { inDim: 20, outDim: 7 },
  }),
  row("butterfly, 2 factors", boft, boftCount, { isOrthogonal: true }),
  row("butterfly, 3 factors", butterfly({ block: 4, factors: 3 }), butterflyCount(4, 3), {
    isOrthogonal: true,
  }),
  row("butterfly, 3 factors of 2×2 in groups", butterfly({ block: 2, factors: 3 }), butterflyCount(2, 3), {
    isOrthogonal: true,
    dims: { inDim: 24, outDim: 10 },
  }),
  row(
    "butterfly with row scale",
    butterfly({ block: 4, factors: 2, rowScale: true }),
    sumOf(boftCount, ({ outDim }) => outDim),
  ),
  row("butterfly by a Neumann series", butterfly({ block: 4, factors: 1, cayley: 5 }), butterflyCount(4, 1), {
    isInvertible: false,
  }),
  ...(["update", "delta", "generator"] as const).flatMap((space) =>
    (["rotated", "raw"] as const).map((input) =>
      row(
        `hybrid in ${space} space, ${input} input`,
        hybrid({ rank: 3, alpha: 6, block: 4, factors: 2, space, input }),
        sumOf(loraCount, boftCount),
        { isInvertible: space !== "delta" },
      )
    )
  ),
  row("householder, 2 reflections", householder({ reflections: 2 }), ({ inDim }) => 2 * inDim, {
    isOrthogonal: true,
    dims: { inDim: 15, outDim: 4 },
  }),
  row("householder, 8 reflections", householder({ reflections: 8 }), ({ inDim }) => 8 * inDim, {
    isOrthogonal: true,
  }),
  row("givens, 1 layer", givens({ layers: 1 }), ({ inDim }) => inDim / 2, {
    isOrthogonal: true,
    dims: { inDim: 6, outDim: 5 },
  }),
  row("givens, 4 layers", givens({ layers: 4 }), ({ inDim }) => 2 * inDim, { isOrthogonal: true }),
  row("unitary", unitary(), unitaryCount, { isOrthogonal: true }),
  row("unitary, radices 3 and 5", unitary(), unitaryCount, {
    isOrthogonal: true,
    dims: { inDim: 30, outDim: 7 },
  }),
  row("unitary in blocks", unitary(), unitaryCount, { isOrthogonal: true, dims: { inDim: 44, outDim: 6 } }),
  row("lowRank ∘ butterfly", compose(lora, boft), sumOf(loraCount, boftCount)),
  row("butterfly ∘ lowRank", compose(boft, lora), sumOf(boftCount, loraCount)),
  row(
    "butterfly ∘ butterfly",
    compose(boft, butterfly({ block: 8, factors: 1 })),
    sumOf(boftCount, butterflyCount(8, 1)),
    {
      isOrthogonal: true,
    },
  ),
  row(
    "lowRank ∥ lowRank",
    parallel(lora, lowRank({ rank: 2, alpha: 2 })),
    sumOf(loraCount, lowRankCount(2)),
    { isInvertible: false },
  ),
  row("butterfly ∥ lowRank", parallel(boft, lora), sumOf(boftCount, loraCount), { isInvertible: false }),
  row("0.5·lowRank", scale(0.5, lora), loraCount, { isInvertible: false }),
  row(
    "lowRank ∘ hybrid",
    compose(lora, hybrid({ rank: 3, alpha: 6, block: 4, factors: 2 })),
    sumOf(loraCount, loraCount, boftCount),
  ),
  row(
    "mix of three",
    mix([lora, boft, lowRank({ rank: 1, alpha: 2 })], gradNormShare),
    sumOf(loraCount, boftCount, lowRankCount(1)),
  ),
];
