/** `gyre.json`: how several directories of PEFT make one adapter, which PEFT itself has no form for. @module */
import type { MixOptions } from "../../adapters/mod.ts";
import { fieldsOf } from "./fields.ts";
import { PeftError } from "../errors.ts";

/** Name of the file, beside the directories. */
export const GYRE_FILE = "gyre.json";

/** How the branches of a map combine. */
export type PeftCombine =
  /** As `mix([...branches], gradNormShare, options)`. */
  | { readonly kind: "mix"; readonly options: Required<MixOptions> }
  /** As `compose(branch 0, compose(branch 1, …))`: the first is outermost. */
  | { readonly kind: "compose" };

/** A file of several directories. */
export interface GyreFile {
  /** Null: each map has one branch. */
  readonly combine: PeftCombine | null;
  /** In the order in which they combine: the directories of a branch adapt different maps. */
  readonly branches: readonly { readonly name: string; readonly directories: readonly string[] }[];
  /** Weights λ of the branches by path of the adapted map; empty without a mix. */
  readonly weights: ReadonlyMap<string, readonly number[]>;
}

const FORMAT = "gyre-adapter", VERSION = 1;

/** The JSON of a {@linkcode GyreFile}. */
export function combineJson(
  combine: PeftCombine | null,
  directories: ReadonlyMap<string, readonly string[]>,
  weights: ReadonlyMap<string, readonly number[]>,
): Record<string, unknown> {
  const mix = combine?.kind === "mix" ? combine.options : null;
  return {
    format: FORMAT,
    version: VERSION,
    combine: combine?.kind ?? null,
    ...(mix
      ? {
        mix: {
          rule: "gradNormShare",
          space: mix.space,
          scope: mix.scope,
          outermost: mix.outermost,
          ema: mix.ema,
          clamp: mix.clamp,
        },
      }
      : {}),
    branches: [...directories].map(([name, directories]) => ({ name, directories })),
    ...(weights.size > 0 ? { weights: Object.fromEntries(weights) } : {}),
  };
}

/** Understand `gyre.json`. Throws PeftError naming the field. */
export function parseGyreFile(json: unknown, file: string): GyreFile {
  const fields = fieldsOf(json, file);
  fields.one("format", [FORMAT]);
  fields.fixed("version", [VERSION], "this file is of another version of Gyre");
  const kind = fields.has("combine") ? fields.one("combine", ["mix", "compose"]) : null;
  const combine: PeftCombine | null = kind === "mix"
    ? { kind, options: mixOptions(fields.value("mix"), file) }
    : kind && { kind };
  const branches = fields.value("branches"), weights = fields.value("weights") ?? {};
  if (!Array.isArray(branches) || branches.length === 0 || !branches.every(isBranch)) {
    throw fields.bad(
      "branches",
      'expected a list of {"name", "directories"}, directories names beside this file',
    );
  }
  if (!isWeights(weights)) throw fields.bad("weights", "expected an object from maps to lists of numbers");
  fields.refuseOthers("combined adapters");
  return { combine, branches, weights: new Map(Object.entries(weights)) };
}

function mixOptions(json: unknown, file: string): Required<MixOptions> {
  const fields = fieldsOf(json, `${file}: mix`);
  fields.one("rule", ["gradNormShare"]);
  const clamp = fields.value("clamp");
  if (!isNumbers(clamp) || clamp.length !== 2) throw fields.bad("clamp", "expected two numbers");
  const options: Required<MixOptions> = {
    space: fields.one("space", ["update", "delta", "generator"]),
    scope: fields.one("scope", ["module", "layer"]),
    outermost: fields.one("outermost", ["first", "last"]),
    ema: fields.share("ema"),
    clamp: [clamp[0]!, clamp[1]!],
  };
  fields.refuseOthers("a mix");
  return options;
}

function isNumbers(x: unknown): x is readonly number[] {
  return Array.isArray(x) && x.every((v) => typeof v === "number" && Number.isFinite(v));
}

function isWeights(x: unknown): x is Readonly<Record<string, readonly number[]>> {
  return typeof x === "object" && x !== null && !Array.isArray(x) && Object.values(x).every(isNumbers);
}

/** Directories are names beside the file: it must not lead elsewhere. */
function isBranch(x: unknown): x is GyreFile["branches"][number] {
  if (typeof x !== "object" || x === null) return false;
  const { name, directories } = x as Readonly<Record<string, unknown>>;
  return typeof name === "string" && Array.isArray(directories) && directories.length > 0 &&
    directories.every((d) => typeof d === "string" && /^[\w-]+$/.test(d));
}

/** An error where branches do not fit together. */
export function combineError(dir: string, what: string): PeftError {
  return new PeftError(`${dir}/${GYRE_FILE}: ${what}.`, { file: `${dir}/${GYRE_FILE}` });
}
