/** Trained adapters as directories of Hugging Face PEFT: one for each branch and its sizes, `gyre.json` where they combine. @module */
import type { LinearDims } from "../../adapters/mod.ts";
import { aval } from "../../core/mod.ts";
import { writeTextAtomically, writeWhole } from "../atomic_file.ts";
import type { LinearModule } from "../decoder.ts";
import { PeftError } from "../errors.ts";
import { combineJson, GYRE_FILE, type PeftCombine } from "./combine.ts";
import type { PeftConfig, PeftMethod, PeftPattern } from "./config.ts";
import { blockOfEntries, type LeafValues, type PeftTensors, toPeft } from "./convert.ts";
import { refuseFull, writePeftFiles } from "./files.ts";
import { peftConfigJson } from "./json.ts";
import type { StoredTensor } from "../safetensors.ts";
import { transposed } from "../weight_file.ts";

/** What the parameters of a branch do not tell about it. */
export type BranchSpec =
  | {
    readonly kind: "lowRank";
    readonly alpha: number;
    readonly rankStabilised: boolean;
    readonly dropout?: number;
  }
  | { readonly kind: "butterfly"; readonly neumannTerms: number | null; readonly dropout: number }
  | { readonly kind: "householder"; readonly gramSchmidt: boolean };

/** One adapter among those of a map. */
export interface SavedBranch {
  /** Name of its directory, where there are several. */
  readonly name: string;
  /** What the paths of its leaves begin with: empty where it is the map's whole adapter, else `branches.0.` or the like. */
  readonly prefix: string;
  readonly spec: BranchSpec;
}

/** What {@linkcode savePeft} writes. */
export interface SaveRequest {
  /** All linear maps of the model that could be adapted. */
  readonly modules: readonly LinearModule[];
  /** Parameters of adapted maps by path, and weights trained whole by name: as `Session.trained` gives them. */
  readonly trained: ReadonlyMap<string, LeafValues>;
  /** The branches of a map, in the order in which they combine. */
  readonly branches: (path: string) => readonly SavedBranch[];
  /** How the branches combine; null where each map has one. */
  readonly combine: PeftCombine | null;
  /** Name of the model that is adapted. */
  readonly base: string | null;
  /** Whether the model has a head that classifies, named as in Hugging Face; absent: it predicts the next token. */
  readonly classifier?: boolean;
  /** More weights trained whole, by name. */
  readonly saved?: ReadonlyMap<string, StoredTensor>;
}

/** What becomes one directory. */
interface Group {
  readonly branch: string;
  readonly methods: Map<string, PeftMethod>;
  readonly modules: Map<string, PeftTensors>;
}

/**
 * Write adapters, whole or not at all: a directory that PEFT reads where all maps have one adapter of the same sizes,
 * else a directory of them and `gyre.json`. Throws PeftError for what PEFT has no type for, and where `dir` is there.
 */
export function savePeft(dir: string, request: SaveRequest): void {
  const { modules, trained, branches, combine, base, classifier = false } = request;
  const groups = new Map<string, Group>();
  const saved = new Map(request.saved ?? []);
  for (const [path, values] of trained) {
    const dims = modules.find((m) => m.path === path);
    const whole = dims ? undefined : values.get("weight");
    if (whole) saved.set(path, whole);
    if (whole) continue;
    if (!dims) throw new PeftError(`${dir}: ${path} is no linear map of the model.`, { dir, path });
    for (const { name, prefix, spec } of branches(path)) {
      const own = withDefaults(under(values, prefix), spec, dims);
      const method = methodOf(spec, own, `${dir}: ${name} on ${path}`);
      if (dims.inputFirst && method.kind !== "LORA") {
        throw new PeftError(
          `${dir}: PEFT has no ${method.kind} for ${path}, a Conv1D layer; merge it instead.`,
          {
            dir,
            path,
          },
        );
      }
      // Ranks and alphas may differ inside a directory, nothing else may.
      const key = `${name} ${
        JSON.stringify(method.kind === "LORA" ? { ...method, rank: 0, alpha: 0 } : method)
      }`;
      const group = groups.get(key) ?? { branch: name, methods: new Map(), modules: new Map() };
      group.methods.set(path, method);
      group.modules.set(path, toPeft(method, own));
      groups.set(key, group);
    }
  }
  const list = [...groups.values()];
  if (list.length === 0) throw new PeftError(`${dir}: there is no adapter to save.`, { dir });
  for (const { path, inputFirst } of modules) {
    const whole = inputFirst && saved.get(`${path}.weight`);
    if (whole) saved.set(`${path}.weight`, transposed(whole));
  }
  const json = (group: Group): Record<string, unknown> =>
    peftConfigJson(configOf(group, { modules, base, classifier }, [...saved.keys()]));
  refuseFull(dir);
  writeWhole(dir, (at) => {
    if (list.length === 1) {
      return writePeftFiles(at, { json: json(list[0]!), modules: list[0]!.modules, saved });
    }
    const directories = new Map<string, string[]>();
    for (const group of list) {
      const same = list.filter((g) => g.branch === group.branch);
      const name = same.length === 1 ? group.branch : `${group.branch}-${same.indexOf(group) + 1}`;
      directories.set(group.branch, [...(directories.get(group.branch) ?? []), name]);
      Deno.mkdirSync(`${at}/${name}`);
      // Weights saved whole belong to all branches: the first directory has them.
      const own = group === list[0] ? saved : new Map<string, StoredTensor>();
      writePeftFiles(`${at}/${name}`, { json: json(group), modules: group.modules, saved: own });
    }
    const text = JSON.stringify(combineJson(combine, directories, weightsOf(trained)), null, 1);
    writeTextAtomically(`${at}/${GYRE_FILE}`, `${text}\n`);
  });
}

/** The leaves whose path begins with `prefix`, without it. */
function under(values: LeafValues, prefix: string): LeafValues {
  return new Map(
    [...values].filter(([path]) => path.startsWith(prefix)).map((
      [path, v],
    ) => [path.slice(prefix.length), v]),
  );
}

/** A butterfly of several factors without a row scale is one of BOFT with a scale of ones. */
function withDefaults(values: LeafValues, spec: BranchSpec, { outDim }: LinearDims): LeafValues {
  if (spec.kind !== "butterfly" || values.has("scale") || values.get("skew")?.aval.shape[0] === 1) {
    return values;
  }
  return new Map([...values, ["scale", { aval: aval([outDim]), data: new Float32Array(outDim).fill(1) }]]);
}

/** PEFT's method with these parameters. Frozen factors double a rank: the scale alpha / rank must stay. */
function methodOf(spec: BranchSpec, values: LeafValues, where: string): PeftMethod {
  const shape = (leaf: string): readonly number[] => {
    const found = values.get(leaf);
    if (found) return found.aval.shape;
    throw new PeftError(`${where}: has no parameter "${leaf}" among ${[...values.keys()].join(", ")}.`, {
      leaf,
    });
  };
  switch (spec.kind) {
    case "lowRank": {
      const times = values.has("a0") ? 2 : 1;
      return {
        kind: "LORA",
        rank: times * shape("a")[0]!,
        alpha: spec.alpha * (spec.rankStabilised ? Math.sqrt(times) : times),
        rankStabilised: spec.rankStabilised,
        dora: values.has("magnitude"),
        dropout: spec.dropout ?? 0,
        rankPattern: [],
        alphaPattern: [],
      };
    }
    case "butterfly": {
      const [factors, , total] = shape("skew") as [number, number, number];
      const { neumannTerms, dropout } = spec, size = blockOfEntries(total);
      if (factors === 1 && !values.has("scale")) {
        return { kind: "OFT", blocks: { size }, neumannTerms, dropout };
      }
      if (neumannTerms !== null) {
        throw new PeftError(
          `${where}: PEFT has the Neumann series only for one factor without row scale; merge this adapter instead.`,
        );
      }
      return { kind: "BOFT", blocks: { size }, factors, dropout };
    }
    case "householder":
      return { kind: "HRA", rank: shape("u")[1]!, gramSchmidt: spec.gramSchmidt };
  }
}

/** The method of all maps of a group: that of the first one, with patterns for those that differ. */
function common({ methods }: Group): PeftMethod {
  const lora = [...methods.values()][0]!;
  if (lora.kind !== "LORA") return lora;
  const pattern = (of: "rank" | "alpha"): PeftPattern =>
    [...methods].flatMap(([path, m]) =>
      m.kind === "LORA" && m[of] !== lora[of] ? [[path.replaceAll(".", "\\."), m[of]] as const] : []
    );
  return { ...lora, rankPattern: pattern("rank"), alphaPattern: pattern("alpha") };
}

function configOf(
  group: Group,
  { modules, base, classifier }: Required<Pick<SaveRequest, "modules" | "base" | "classifier">>,
  saved: readonly string[],
): PeftConfig {
  const { modules: own } = group;
  const last = (path: string): string => path.split(".").at(-1)!;
  const names = [...new Set([...own.keys()].map(last))].sort();
  const meant = modules.filter((m) => names.includes(last(m.path)));
  // PEFT saves a head whole, under the name that it has in the model; maps of heads and poolers are called as others are.
  const whole = saved.map((name) => classifier ? name.replace(/^classifier\..*/, "classifier") : name);
  return {
    method: common(group),
    targets: {
      modules: !classifier && meant.length === own.size ? names : [...own.keys()].sort(),
      exclude: [],
      layers: null,
      layersPattern: [],
      saved: [...new Set(whole.map((name) => name.replace(/\.(weight|bias)$/, "")))].sort(),
    },
    bias: "none",
    fanInFanOut: modules.some((m) => m.inputFirst && own.has(m.path)),
    base,
    taskType: classifier ? "SEQ_CLS" : "CAUSAL_LM",
  };
}

/** Weights λ of the branches of each map, where there are any. */
function weightsOf(trained: ReadonlyMap<string, LeafValues>): Map<string, readonly number[]> {
  return new Map([...trained].flatMap(([path, values]) => {
    const weights = values.get("weights");
    return weights ? [[path, [...weights.data]] as const] : [];
  }));
}
