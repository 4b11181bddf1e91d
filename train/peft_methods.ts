/** How the methods that `--method` names are laid out in PEFT. @module */
import type { MixOptions } from "../adapters/mod.ts";
import { type AdapterName, ADAPTERS, type AdapterSettings } from "./adapter_specs.ts";
import type { PeftCombine } from "./peft_combine.ts";
import type { BranchSpec, SavedBranch } from "./peft_save.ts";

/** The branches of each adapted map, and how they combine: what `savePeft` asks for. */
export interface PeftLayout {
  readonly branches: readonly SavedBranch[];
  readonly combine: PeftCombine | null;
}

/** Sizes of a map that every adapter fits: only the settings of its mix are wanted. */
const ANY_MAP = { inDim: 1024, outDim: 1024 };

/** The layout of a method with these settings; null for what PEFT has no type for: Givens layers, unitary maps. */
export function peftLayout(method: AdapterName, settings: AdapterSettings): PeftLayout | null {
  const one = (spec: BranchSpec): PeftLayout => ({
    branches: [{ name: method, prefix: "", spec }],
    combine: null,
  });
  const { alpha, neumann: neumannTerms, dropout } = settings;
  const lowRank = (rankStabilised: boolean): BranchSpec => ({ kind: "lowRank", alpha, rankStabilised });
  const butterfly: BranchSpec = { kind: "butterfly", neumannTerms, dropout };
  switch (method) {
    case "lora":
    case "dora":
    case "pissa":
    case "olora":
      return one(lowRank(false));
    case "rslora":
    case "lora-ga":
      return one(lowRank(true));
    case "oft":
    case "boft":
      return one(butterfly);
    case "hra":
      return one({ kind: "householder", gramSchmidt: false });
    case "givens":
    case "unitary":
      return null;
    case "hybrid":
      return {
        branches: [
          { name: "lora-ga", prefix: "branches.0.", spec: lowRank(true) },
          { name: "boft", prefix: "branches.1.", spec: butterfly },
        ],
        combine: { kind: "mix", options: mixOptionsOf(method, settings) },
      };
  }
}

function mixOptionsOf(method: AdapterName, settings: AdapterSettings): Required<MixOptions> {
  const { space, scope, ema, clamp } = ADAPTERS[method].make(settings)(ANY_MAP).mixing![0]!;
  return { space, scope, ema, clamp, outermost: settings.input === "rotated" ? "last" : "first" };
}
