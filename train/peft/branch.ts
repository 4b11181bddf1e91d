/** One directory of Hugging Face PEFT as adapters and values for the linear maps of a model. @module */
import {
  type Adapter,
  type AnyParams,
  butterfly,
  erase,
  householder,
  type LinearDims,
  lowRank,
} from "../../adapters/mod.ts";
import type { LinearModule } from "../decoder.ts";
import { PeftError } from "../errors.ts";
import type { PeftMethod } from "./config.ts";
import { blockOfEntries, fromPeft, type LeafValues, type PeftTensors } from "./convert.ts";
import { CONFIG_FILE, readPeft } from "./files.ts";
import { patternValue, targetTest } from "./targets.ts";
import type { BranchSpec } from "./save.ts";
import type { StoredTensor } from "../safetensors.ts";
import { transposed } from "../weight_file.ts";

/** What the adapters are loaded for: dropout matters to training only. */
export interface LoadPeftOptions {
  readonly training: boolean;
}

/** An adapter for a map of these sizes. */
export type MapAdapter = (dims: LinearDims) => Adapter<AnyParams>;

/** The adapter of a map. */
export interface MapBranch {
  readonly make: MapAdapter;
  /** A text that is the same for equal adapters. */
  readonly id: string;
  /** What its parameters do not tell, for writing it again; one for each branch. */
  readonly specs: readonly BranchSpec[];
}

/** One directory's adapters by map. */
export interface LoadedBranch {
  /** By path. */
  readonly adapters: ReadonlyMap<string, MapBranch>;
  readonly values: ReadonlyMap<string, LeafValues>;
  readonly saved: ReadonlyMap<string, StoredTensor>;
}

/**
 * Read one directory of PEFT for a model with these linear maps. Throws PeftError, as {@linkcode readPeft} does, and
 * where the maps that its settings choose are not those that have tensors, or settings make no sense for these maps.
 */
export function loadBranch(
  dir: string,
  modules: readonly LinearModule[],
  options: LoadPeftOptions,
): LoadedBranch {
  const read = readPeft(dir);
  const file = `${dir}/${CONFIG_FILE}`;
  const { method, fanInFanOut, targets } = read.config;
  const bad = (what: string): PeftError => new PeftError(`${file}: ${what}.`, { file });
  const { bias } = read.config;
  const biased = bias === "none" ? undefined : [...read.saved.keys()].find((name) => name.endsWith(".bias"));
  if (biased !== undefined) {
    throw bad(
      `bias is "${bias}" and ${biased} was trained; Gyre adapts maps and leaves their biases, use "none"`,
    );
  }
  const isTarget = targetTest(targets, file);
  const chosen = modules.filter((m) => isTarget(m.path));
  const lacking = chosen.find((m) => !read.modules.has(m.path));
  if (lacking) throw bad(`target_modules chooses ${lacking.path}, which has no tensors in the adapter`);
  const stray = [...read.modules.keys()].find((path) => !chosen.some((m) => m.path === path));
  if (stray !== undefined) {
    const known = modules.some((m) => m.path === stray);
    throw bad(
      known
        ? `target_modules does not choose ${stray}, which has tensors in the adapter`
        : `the adapter is on ${stray}, which is no linear map that Gyre adapts in this model`,
    );
  }
  requireLayout(method, fanInFanOut, chosen, bad);
  const adapters = new Map<string, MapBranch>();
  const values = new Map<string, LeafValues>();
  for (const { path } of chosen) {
    const tensors = read.modules.get(path)!;
    const own = methodAt(method, path, file);
    if (options.training && own.kind === "LORA" && own.dora && own.dropout > 0) {
      throw bad(`lora_dropout is ${own.dropout}; Gyre trains DoRA without dropout, set it to 0 to train on`);
    }
    values.set(path, fromPeft(own, tensors));
    adapters.set(path, adapterOf(own, tensors));
  }
  const turned = new Set(modules.flatMap((m) => m.inputFirst ? [`${m.path}.weight`] : []));
  const saved = new Map([...read.saved].map(([name, t]) => [name, turned.has(name) ? transposed(t) : t]));
  return { adapters, values, saved };
}

/** Refuse what contradicts how the model's files store the chosen maps. Conv1D layers PEFT itself takes as such. */
function requireLayout(
  { kind }: PeftMethod,
  fanInFanOut: boolean,
  chosen: readonly LinearModule[],
  bad: (what: string) => PeftError,
): void {
  const conv = chosen.find((m) => m.inputFirst), linear = chosen.find((m) => !m.inputFirst);
  if (fanInFanOut && linear) {
    throw bad(`fan_in_fan_out is true; ${linear.path} stores its weight [out, in], set it to false`);
  }
  if (conv && kind !== "LORA") {
    throw bad(`${conv.path} is a Conv1D layer, for which PEFT has no ${kind}; use LORA`);
  }
}

/** The method of one map: patterns applied. */
function methodAt(method: PeftMethod, path: string, file: string): PeftMethod {
  if (method.kind !== "LORA") return method;
  return {
    ...method,
    rank: patternValue(method.rankPattern, path, method.rank, "rank_pattern", file),
    alpha: patternValue(method.alphaPattern, path, method.alpha, "alpha_pattern", file),
    rankPattern: [],
    alphaPattern: [],
  };
}

/** Block sizes come from the tensors: PEFT's OFT changes one that does not divide a map's input. */
function adapterOf(
  method: PeftMethod,
  tensors: PeftTensors,
): MapBranch {
  const made = <P>(adapter: Adapter<P>, spec: BranchSpec, sizes = ""): MapBranch => ({
    make: (dims) => erase(adapter, dims),
    id: `${JSON.stringify(method)} ${sizes}`,
    specs: [spec],
  });
  switch (method.kind) {
    case "LORA": {
      const { rank, alpha, rankStabilised, dora } = method, dropout = dora ? 0 : method.dropout;
      return made(lowRank({ rank, alpha, rankStabilised, decomposed: dora, dropout }), {
        kind: "lowRank",
        alpha,
        rankStabilised,
        dropout,
      });
    }
    case "OFT": {
      const block = blockOfEntries(tensors.get("oft_R.weight")!.aval.shape[1]!);
      const { dropout, neumannTerms } = method;
      const adapter = butterfly({ block, factors: 1, dropout, cayley: neumannTerms ?? "exact" });
      return made(adapter, { kind: "butterfly", neumannTerms, dropout }, `${block}`);
    }
    case "BOFT": {
      const block = tensors.get("boft_R")!.aval.shape[3]!;
      const { factors, dropout } = method;
      const adapter = butterfly({ block, factors, dropout, rowScale: true });
      return made(adapter, { kind: "butterfly", neumannTerms: null, dropout }, `${block}`);
    }
    case "HRA": {
      const { rank, gramSchmidt } = method;
      const paired = !gramSchmidt && rank % 2 === 0;
      return made(householder({ reflections: rank, gramSchmidt, paired }), {
        kind: "householder",
        gramSchmidt,
      });
    }
  }
}
