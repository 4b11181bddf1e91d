/** What kind of directory is looked at: its files, its rotations, its λ. @module */
import { ADAPTER_FILE } from "../adapter_directory.ts";
import { exists, isFile } from "../atomic_file.ts";
import { shardNames } from "../checkpoint.ts";
import { UserError } from "../errors.ts";
import { readJson } from "../json_file.ts";
import { didYouMean } from "../nearby_path.ts";
import { GYRE_FILE, parseGyreFile } from "../peft/combine.ts";
import { fromPeft } from "../peft/convert.ts";
import { CONFIG_FILE, readPeft, TENSOR_FILE } from "../peft/files.ts";
import { checkpointSteps } from "../run_checkpoint.ts";
import { openSafetensors } from "../safetensors.ts";
import type { HostTensor } from "../training.ts";
import { type Rotation, ROTATION_LEAVES } from "./orthogonality.ts";

/** What is looked at. */
export interface Inspected {
  readonly kind: "model" | "adapter" | "peft" | "checkpoint" | "tensors";
  /** Where it is: of a run, what of it was chosen. */
  readonly dir: string;
  /** Method, or architecture; null where nothing says it. */
  readonly method: string | null;
  readonly files: readonly string[];
  readonly rotations: readonly Rotation[];
  /** Weights of the branches, by path. */
  readonly lambdas: Readonly<Record<string, readonly number[]>>;
  /** What people should know. */
  readonly notes: readonly string[];
}

/** Find out what a path is. Throws UserError where it is nothing that Gyre knows. */
export function openInspected(path: string): Inspected {
  const at = path.replace(/(?<=.)\/+$/, "");
  const has = (name: string): boolean => exists(`${at}/${name}`);
  if (at.endsWith(".safetensors")) return plain("tensors", at, null, [at]);
  if (!exists(at)) {
    throw new UserError(`${at}: not found${didYouMean(at)}; give a directory or a .safetensors file.`, {
      path,
    });
  }
  if (isFile(at)) {
    throw new UserError(`${at}: is a file; give a directory or a .safetensors file.`, { path });
  }
  if (has(ADAPTER_FILE)) return gyreAdapter(at);
  if (has(GYRE_FILE)) return severalPeft(at);
  if (has(CONFIG_FILE)) return onePeft(at);
  if (has("state.json") && has("tensors.safetensors")) return checkpoint(at);
  if (has("adapter/")) return openInspected(`${at}/adapter`);
  const newest = checkpointSteps(at).at(-1);
  if (newest !== undefined) return openInspected(`${at}/checkpoints/step-${newest}`);
  if (has("model.safetensors") || has("model.safetensors.index.json")) {
    const config = has("config.json") ? fields(`${at}/config.json`) : {};
    const type = typeof config["model_type"] === "string" ? config["model_type"] : null;
    return plain("model", at, type, shardNames(at).map((name) => `${at}/${name}`));
  }
  const pickles = [...Deno.readDirSync(at)].map((e) => e.name).filter((n) =>
    /\.(bin|pt|pth|pkl|ckpt)$/.test(n)
  );
  throw new UserError(
    pickles.length > 0
      ? `${at}/${pickles[0]}: a pickle can run any program when it is read; convert it to safetensors.`
      : `${at}: is no model, adapter, checkpoint or run; expected model.safetensors, ${ADAPTER_FILE}, ${TENSOR_FILE} or tensors.safetensors in it.`,
    { path },
  );
}

function plain(
  kind: Inspected["kind"],
  dir: string,
  method: string | null,
  files: readonly string[],
): Inspected {
  return { kind, dir, method, files, rotations: [], lambdas: {}, notes: [] };
}

function fields(file: string): Readonly<Record<string, unknown>> {
  const json = readJson(file, UserError, "it belongs to the directory");
  if (typeof json === "object" && json !== null) return json as Readonly<Record<string, unknown>>;
  throw new UserError(`${file}: expected a JSON object; the file is damaged, copy it again.`, { file });
}

/** Tensors grouped by what they belong to: the name up to the last leaf that says what kind of rotation it is. */
function gyreAdapter(dir: string): Inspected {
  const settings = fields(`${dir}/adapter.json`), file = `${dir}/${ADAPTER_FILE}`;
  const compose = typeof settings["compose"] === "string" ? settings["compose"] : "";
  const unclear = /neumann/.test(compose);
  const neumann = typeof settings["neumann"] === "number" ? settings["neumann"] : null;
  const rotations: Rotation[] = [], lambdas: Record<string, number[]> = {};
  using tensors = openSafetensors(file);
  for (const name of tensors.header.tensors.keys()) {
    const cut = name.lastIndexOf("."), leaf = name.slice(cut + 1), owner = name.slice(0, Math.max(0, cut));
    if (leaf === "weights") lambdas[owner] = [...tensors.readF32(name)];
    const wanted = ROTATION_LEAVES[leaf];
    if (!wanted || (unclear && leaf === "skew")) continue;
    const leaves = new Map(wanted.map((l): [string, HostTensor] => [l, tensors.read(`${owner}.${l}`)]));
    rotations.push({ name: owner, leaves, neumann, gramSchmidt: false });
  }
  const method = typeof settings["method"] === "string" ? settings["method"] : null;
  return {
    ...plain("adapter", dir, compose === "" ? method : compose, [file]),
    rotations,
    lambdas,
    notes: unclear ? ["rotations by a Neumann series inside of an expression are not measured"] : [],
  };
}

function onePeft(dir: string): Inspected {
  const { config: { method }, modules } = readPeft(dir);
  const rotations = method.kind === "LORA" ? [] : [...modules].map(([name, tensors]): Rotation => {
    const leaf = method.kind === "HRA" ? "u" : "skew", values = fromPeft(method, tensors);
    return {
      name,
      leaves: new Map([[leaf, values.get(leaf)!]]),
      neumann: method.kind === "OFT" ? method.neumannTerms : null,
      gramSchmidt: method.kind === "HRA" && method.gramSchmidt,
    };
  });
  return { ...plain("peft", dir, method.kind, [`${dir}/${TENSOR_FILE}`]), rotations };
}

function severalPeft(dir: string): Inspected {
  const file = `${dir}/${GYRE_FILE}`;
  const { branches, weights } = parseGyreFile(readJson(file, UserError, ""), file);
  const parts = branches.flatMap((b) => b.directories.map((name) => onePeft(`${dir}/${name}`)));
  return {
    ...plain("peft", dir, branches.map((b) => b.name).join(" and "), parts.flatMap((p) => p.files)),
    rotations: parts.flatMap((p) => p.rotations),
    lambdas: Object.fromEntries(weights),
  };
}

/** Of a checkpoint the tensors are those of all maps of equal sizes together. */
function checkpoint(dir: string): Inspected {
  const { state } = fields(`${dir}/state.json`);
  const options = (state as { readonly options?: Readonly<Record<string, unknown>> } | undefined)?.options ??
    {};
  const method = typeof options["method"] === "string" ? options["method"] : null;
  return {
    ...plain("checkpoint", dir, method, [`${dir}/tensors.safetensors`]),
    notes: [
      "tensors hold all maps of equal sizes, a row each; rotations and λ are measured of an adapter's directory",
    ],
  };
}
