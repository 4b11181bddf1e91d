/** From the tree of `--compose` to adapters and their places. @module */
import * as Either from "fp-ts/Either.js";
import { fill, ShapeError } from "../core/ir/mod.ts";
import {
  type Adapter,
  type AnyParams,
  baseMap,
  compose,
  erase,
  fit,
  type Fitted,
  gradNormShare,
  identity,
  type LinearDims,
  mix,
  type Module,
  on,
  parallel,
  type Placement,
  scale,
} from "../adapters/mod.ts";
import {
  ADAPTERS,
  type AdapterSettings,
  type AdapterSpec,
  type MakeAdapter,
  MIXING,
  mixOptions,
  SETTING_READERS,
} from "./adapter_specs.ts";
import { type Amount, type Call, parseExpression, pointAt, type Setting } from "./compose_expression.ts";
import { nearest } from "./nearest.ts";

type SettingName = keyof AdapterSettings;

const SETTINGS = Object.keys(SETTING_READERS) as SettingName[];
const SHORT: Readonly<Record<string, SettingName>> = { r: "rank", b: "block", m: "factors" };
const COMBINATORS = ["identity", "scale", "compose", "parallel", "mix"];
const SPECS: Readonly<Record<string, AdapterSpec>> = ADAPTERS;

/** `rowScale` → `row-scale`. */
function written(name: SettingName): string {
  return name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

/** An adapter's place in a model, and where it stands in the expression. */
export interface ComposedPlacement extends Placement {
  readonly at: number;
}

/**
 * Places of an expression. What a call does not set is as `settings` say, but alpha is twice a rank that is set; an
 * adapter without a place goes where `target` says. Throws OptionError that points at what is unknown or does not
 * belong; so does fitting, for sizes that an adapter cannot have.
 */
export function composedPlacements(
  text: string,
  settings: AdapterSettings,
  target: string,
): readonly ComposedPlacement[] {
  return parseExpression(text).map(({ pattern, at, adapter }) => {
    const placement = on(pattern ?? target, makerOf(text, adapter, settings));
    return { ...placement, at, fit: oncePerSize(placement.fit) };
  });
}

/** An adapter of an expression with all its settings: a name of `ADAPTERS` or of a combinator. */
export interface Resolved {
  readonly name: string;
  readonly settings: AdapterSettings;
  readonly parts: readonly Resolved[];
}

/** The adapters of an expression by their places, in order: what {@linkcode composedPlacements} makes. */
export function resolvedPlaces(
  text: string,
  settings: AdapterSettings,
  target: string,
): readonly { readonly matches: (path: string) => boolean; readonly adapter: Resolved }[] {
  const resolve = (call: Call): Resolved => ({
    name: call.name,
    settings: settingsOf(text, call, settings, usedBy(call)),
    parts: call.parts.flatMap((p) => p.kind === "call" ? [resolve(p)] : []),
  });
  return parseExpression(text).map(({ pattern, adapter }) => ({
    matches: on(pattern ?? target, identity).matches,
    adapter: resolve(adapter),
  }));
}

/** Whether a call mixes the adapters in it. */
function mixes({ name, parts }: Call): boolean {
  return name === "mix" || (name === "hybrid" && parts.length > 0);
}

function usedBy(call: Call): readonly SettingName[] {
  return mixes(call) ? MIXING : SPECS[call.name]?.uses ?? [];
}

/** The same, computed once for maps of equal sizes: deep expressions take long to trace. */
function oncePerSize(fit: Placement["fit"]): Placement["fit"] {
  const known = new Map<string, Fitted>();
  return (dims) => {
    const size = `${dims.inDim} ${dims.outDim}`, fitted = known.get(size) ?? fit(dims);
    known.set(size, fitted);
    return fitted;
  };
}

/** Refuse places that no map of the model is left for. Throws OptionError. */
export function requirePlaces(
  text: string,
  placements: readonly ComposedPlacement[],
  modules: readonly Module[],
): void {
  const taken = new Set<string>();
  for (const { at, pattern, matches } of placements) {
    const found = modules.filter((m) => matches(m.path));
    if (found.length === 0) {
      const kinds = [...new Set(modules.map((m) => m.path.split(".").at(-1)!))].join(", ");
      throw pointAt(text, at, `no linear map for "${pattern}"`, `the model has ${kinds}.`);
    }
    if (found.every((m) => taken.has(m.path))) {
      const advice = "an earlier place takes all of its maps; put this one before it.";
      throw pointAt(text, at, `no linear map left for "${pattern}"`, advice);
    }
    found.forEach((m) => taken.add(m.path));
  }
}

/** Checks a call and what is in it; the adapter is made when sizes are known. */
function makerOf(text: string, call: Call, defaults: AdapterSettings): MakeAdapter {
  const { name, parts } = call;
  if (!COMBINATORS.includes(name) && !Object.hasOwn(SPECS, name)) {
    const names = [...Object.keys(SPECS), ...COMBINATORS];
    const near = nearest(name, names);
    const hint = near === null ? "" : `did you mean ${near}? `;
    throw pointAt(text, call.at, `unknown adapter "${name}"`, `${hint}There are ${names.join(", ")}.`);
  }
  const isMix = mixes(call);
  const settings = settingsOf(text, call, defaults, usedBy(call));
  const pointing = (make: MakeAdapter): MakeAdapter => (dims) => {
    try {
      return make(dims);
    } catch (error) {
      if (!(error instanceof ShapeError || error instanceof TypeError)) throw error;
      throw pointAt(text, call.at, `${name} does not fit`, error.message.replace(/\n\s*/g, "; "));
    }
  };
  const inner = (of: readonly (Call | Amount)[], least: number, most = Infinity): MakeAdapter[] => {
    const stray = of.find((p) => p.kind === "amount");
    if (stray) {
      throw pointAt(text, stray.at, `an unexpected ${stray.value}`, "settings are given by name, as r=8.");
    }
    if (of.length < least || of.length > most) {
      const expected = most === 0 ? "no adapters" : most === least ? "one adapter" : "two adapters or more";
      throw pointAt(text, of[most]?.at ?? call.at, `${name} of ${of.length}`, `it takes ${expected}.`);
    }
    return of.map((p) => makerOf(text, p as Call, defaults));
  };
  if (isMix) {
    const makers = inner(parts, 2);
    parts.forEach((p) => requireTrained(text, p as Call));
    requireClamp(text, call, settings, makers.length);
    return pointing((dims) =>
      checked(mix(makers.map((make) => make(dims)), gradNormShare, mixOptions(settings)), dims)
    );
  }
  switch (name) {
    case "identity":
      inner(parts, 0, 0);
      return (dims) => erase(identity, dims);
    case "scale": {
      const [first, ...rest] = parts;
      if (first?.kind !== "amount") {
        throw pointAt(text, call.at, "scale without a number", "give it first, as scale(0.5, lora).");
      }
      const [make] = inner(rest, 1, 1);
      return pointing((dims) => checked(scale(first.value, make!(dims)), dims));
    }
    case "compose":
    case "parallel": {
      const pair = (a: Adapter<AnyParams>, b: Adapter<AnyParams>, dims: LinearDims): Adapter<AnyParams> =>
        checked(name === "compose" ? compose(a, b) : parallel(a, b), dims);
      const makers = inner(parts, 2);
      return pointing((dims) => makers.map((make) => make(dims)).reduceRight((b, a) => pair(a, b, dims)));
    }
  }
  inner(parts, 0, 0);
  return pointing(SPECS[name]!.make(settings));
}

/** The settings of a call. Throws OptionError for those that are unknown, broken or of other adapters. */
function settingsOf(
  text: string,
  { name, settings }: Call,
  defaults: AdapterSettings,
  uses: readonly SettingName[],
): AdapterSettings {
  const shown = uses.map((u) => {
    const short = Object.keys(SHORT).find((s) => SHORT[s] === u);
    return short === undefined ? written(u) : `${short} (${written(u)})`;
  }).join(", ");
  const given = new Map<SettingName, unknown>();
  for (const s of settings) {
    const found = settingName(s);
    if (found === undefined || !uses.includes(found)) {
      const near = nearest(s.name, uses.map(written));
      const hint = near === null ? "" : `did you mean ${near}? `;
      const advice = uses.length === 0 ? "it has no settings." : `${hint}It uses ${shown}.`;
      throw pointAt(text, s.at, `${name} does not use "${s.name}"`, advice);
    }
    if (given.has(found)) throw pointAt(text, s.at, `${written(found)} given twice`, "keep one of them.");
    const value = SETTING_READERS[found](s.value);
    if (Either.isLeft(value)) {
      throw pointAt(text, s.valueAt, `${s.name} is "${s.value}"`, `give ${value.left}.`);
    }
    given.set(found, value.right);
  }
  const rank = given.get("rank");
  // The readers tie each name to its type.
  const own = Object.fromEntries(given) as Partial<AdapterSettings>;
  return { ...defaults, ...(typeof rank === "number" ? { alpha: 2 * rank } : {}), ...own };
}

function settingName({ name }: Setting): SettingName | undefined {
  return Object.hasOwn(SHORT, name) ? SHORT[name] : SETTINGS.find((s) => written(s) === name || s === name);
}

/** A combination as one adapter. Called once, since some combinations only fail when the map is built. */
function checked<P>(adapter: Adapter<P>, dims: LinearDims): Adapter<AnyParams> {
  const { leaves, apply } = fit(adapter, dims);
  const params = leaves.map(({ aval }) => fill(0, aval.shape, aval.dtype));
  apply(params, baseMap(fill(0, [dims.outDim, dims.inDim])))(fill(0, [1, dims.inDim]));
  return erase(adapter, dims);
}

/** Refuse branches of a mix that have no gradient to be weighed by. */
function requireTrained(text: string, branch: Call): void {
  const isTrained = (call: Call): boolean =>
    call.parts.length === 0
      ? call.name !== "identity"
      : call.parts.some((p) => p.kind === "call" && isTrained(p));
  if (isTrained(branch)) return;
  throw pointAt(text, branch.at, "a branch that trains nothing", "mixes weigh branches by their gradients.");
}

/** Refuse a least weight that all branches together cannot have. */
function requireClamp(text: string, call: Call, { clamp }: AdapterSettings, branches: number): void {
  if (clamp * branches < 1) return;
  const at = call.settings.find((s) => s.name === "clamp")?.valueAt ?? call.at;
  throw pointAt(text, at, `clamp ${clamp} for ${branches} branches`, `give less than 1/${branches}.`);
}
