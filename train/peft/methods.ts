/** How the methods that `--method` names are laid out in PEFT. @module */
import { identity, on } from "../../adapters/mod.ts";
import { type AdapterName, ADAPTERS, type AdapterSettings, mixOptions } from "../adapter_specs.ts";
import { type Resolved, resolvedPlaces } from "../compose_adapters.ts";
import type { LinearModule } from "../decoder.ts";
import type { MethodOptions } from "../methods.ts";
import type { PeftCombine } from "./combine.ts";
import type { BranchSpec, SavedBranch } from "./save.ts";

/** The branches of each adapted map, and how they combine: what `savePeft` asks for. */
export interface PeftLayout {
  readonly branches: readonly SavedBranch[];
  readonly combine: PeftCombine | null;
}

/** A layout, and the maps that it is for. */
export interface PlacedLayout extends PeftLayout {
  readonly paths: ReadonlySet<string>;
}

/** The layouts of a method, one for each place of an expression; null where PEFT has no form for one of them. */
export function peftLayouts(
  options: MethodOptions,
  modules: readonly LinearModule[],
): readonly PlacedLayout[] | null {
  const { method, target, compose } = options;
  if (method === "full") return null;
  const places = method === "compose"
    ? resolvedPlaces(compose ?? "", options, target)
    : [{ matches: on(target, identity).matches, adapter: { name: method, settings: options, parts: [] } }];
  const taken = new Set<string>();
  const layouts = places.map(({ matches, adapter }) => {
    const paths = new Set(modules.map((m) => m.path).filter((path) => matches(path) && !taken.has(path)));
    paths.forEach((path) => taken.add(path));
    const layout = layoutOf(adapter);
    // For Conv1D layers PEFT has low-rank maps alone.
    const conv = modules.some((m) => m.inputFirst && paths.has(m.path));
    const lacking = conv && layout?.branches.some((b) => b.spec.kind !== "lowRank");
    return layout && !lacking ? { ...layout, paths } : null;
  });
  return layouts.every((l) => l !== null) ? layouts : null;
}

/** Combinations of single adapters have a layout; deeper ones, and other combinators, have none. */
function layoutOf({ name, settings, parts }: Resolved): PeftLayout | null {
  if (parts.length === 0) {
    return Object.hasOwn(ADAPTERS, name) ? peftLayout(name as AdapterName, settings) : null;
  }
  const list = parts.map(layoutOf);
  const single = list.every((l) => l?.branches.length === 1 && l.combine === null);
  if (!single || !["compose", "mix", "hybrid"].includes(name)) return null;
  const last = parts.length - 1;
  const prefix = (i: number): string =>
    name === "compose" ? "1.".repeat(i) + (i < last ? "0." : "") : `branches.${i}.`;
  const names = parts.map((p, i) =>
    parts.filter((q) => q.name === p.name).length === 1 ? p.name : `${p.name}-${i + 1}`
  );
  return {
    branches: list.map((l, i) => ({ ...l!.branches[0]!, name: names[i]!, prefix: prefix(i) })),
    combine: name === "compose" ? { kind: "compose" } : { kind: "mix", options: mixOptions(settings) },
  };
}

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
        combine: { kind: "mix", options: mixOptions(settings) },
      };
  }
}
