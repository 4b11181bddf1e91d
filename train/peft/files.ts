/** Directories of Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`, read whole and written whole. @module */
import { exists, isEmptyDirectory, writeTextAtomically, writeWhole } from "../atomic_file.ts";
import { PeftError } from "../errors.ts";
import { PICKLE_ADVICE, pickleIn } from "../input_file.ts";
import { readJson } from "../json_file.ts";
import { parsePeftConfig, type PeftConfig, type PeftMethod } from "./config.ts";
import { patternValue } from "./targets.ts";
import { MAGNITUDE, type PeftTensors } from "./convert.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "../safetensors.ts";

/** The settings. */
export const CONFIG_FILE = "adapter_config.json";
/** The tensors. */
export const TENSOR_FILE = "adapter_model.safetensors";
/** What PEFT puts before the paths of the model's modules. */
const PREFIX = "base_model.model.";

/** What is in a directory. */
export interface PeftDirectory {
  readonly config: PeftConfig;
  /** The settings as they are in the file. */
  readonly json: unknown;
  /** Tensors by module path and by leaf, such as `lora_A.weight`. */
  readonly modules: ReadonlyMap<string, PeftTensors>;
  /** Tensors of modules that are saved whole, and trained biases, by what the file names them after PEFT's prefix. */
  readonly saved: ReadonlyMap<string, StoredTensor>;
}

/** Leaves that a map must have, by method. */
const LEAVES: { readonly [K in PeftMethod["kind"]]: readonly string[] } = {
  LORA: ["lora_A.weight", "lora_B.weight"],
  OFT: ["oft_R.weight"],
  BOFT: ["boft_R", "boft_s"],
  HRA: ["hra_u"],
};

/**
 * Read a directory. Throws PeftError for a field that Gyre does not honour, a tensor that is no part of the adapter, a
 * leaf that is missing or of a wrong shape, and pickles; SafetensorsError for a damaged file.
 */
export function readPeft(dir: string): PeftDirectory {
  const json = readJson(
    `${dir}/${CONFIG_FILE}`,
    PeftError,
    `an adapter of PEFT needs ${CONFIG_FILE} and ${TENSOR_FILE}`,
  );
  const config = parsePeftConfig(json, `${dir}/${CONFIG_FILE}`);
  const path = `${dir}/${TENSOR_FILE}`;
  if (!exists(path)) throw missingTensors(dir);
  const modules = new Map<string, Map<string, StoredTensor>>();
  const saved = new Map<string, StoredTensor>();
  const known = [...LEAVES[config.method.kind], ...(isDora(config.method) ? MAGNITUDE : [])];
  using file = openSafetensors(path);
  for (const key of file.header.tensors.keys()) {
    const bad = (what: string): PeftError =>
      new PeftError(`${path}: tensor "${key}" ${what}.`, { file: path, tensor: key });
    if (!key.startsWith(PREFIX)) {
      throw bad(`does not begin with "${PREFIX}"; save the adapter with PEFT's save_pretrained`);
    }
    const name = key.slice(PREFIX.length);
    const leaf = known.find((l) => name.endsWith(`.${l}`));
    if (leaf) {
      const module = name.slice(0, -leaf.length - 1);
      modules.set(module, (modules.get(module) ?? new Map<string, StoredTensor>()).set(leaf, file.read(key)));
    } else if (isSavedWhole(config, name)) {
      saved.set(name, file.read(key));
    } else {
      throw bad(`is no part of an adapter of type ${config.method.kind}, nor of modules_to_save`);
    }
  }
  if (modules.size === 0) throw new PeftError(`${path}: has no tensors of an adapter.`, { file: path });
  for (const [module, tensors] of modules) requireShapes(config.method, module, tensors, dir);
  return { config, json, modules, saved };
}

/** Whether a tensor is of a module that is saved whole, or a bias where biases are trained. */
function isSavedWhole({ targets, bias }: PeftConfig, name: string): boolean {
  return targets.saved.some((m) => `.${name}`.includes(`.${m}.`)) ||
    (bias !== "none" && name.endsWith(".bias"));
}

function isDora(method: PeftMethod): boolean {
  return method.kind === "LORA" && method.dora;
}

function missingTensors(dir: string): PeftError {
  const pickle = pickleIn(dir);
  return new PeftError(
    pickle
      ? `${dir}/${pickle}: ${PICKLE_ADVICE}: PEFT's save_pretrained writes ${TENSOR_FILE}.`
      : `${dir}: has no ${TENSOR_FILE}.`,
    { dir },
  );
}

/** Check that a map has its leaves, and that their shapes belong together. */
function requireShapes(method: PeftMethod, module: string, tensors: PeftTensors, dir: string): void {
  const file = `${dir}/${TENSOR_FILE}`;
  const shape = (leaf: string): readonly number[] => {
    const found = tensors.get(leaf);
    if (found) return found.aval.shape;
    throw new PeftError(`${file}: "${module}" has no ${leaf}; the file is incomplete.`, {
      file,
      module,
      leaf,
    });
  };
  const fits = (leaf: string, holds: boolean, expected: string): void => {
    if (holds) return;
    throw new PeftError(
      `${file}: ${leaf} of "${module}" has shape [${shape(leaf).join()}]; expected ${expected}.`,
      {
        file,
        module,
        leaf,
      },
    );
  };
  switch (method.kind) {
    case "LORA": {
      const a = shape("lora_A.weight"), b = shape("lora_B.weight");
      const r = patternValue(
        method.rankPattern,
        module,
        method.rank,
        "rank_pattern",
        `${dir}/${CONFIG_FILE}`,
      );
      fits("lora_A.weight", a.length === 2 && a[0] === r, `[${r}, in], as r and rank_pattern say`);
      fits("lora_B.weight", b.length === 2 && b[1] === r, `[out, ${r}], as r and rank_pattern say`);
      if (!method.dora) return;
      const leaf = MAGNITUDE.find((n) => tensors.has(n)) ?? MAGNITUDE[0];
      return fits(leaf, shape(leaf).length === 1 && shape(leaf)[0] === b[0], `[${b[0]}]`);
    }
    case "OFT":
      return fits("oft_R.weight", shape("oft_R.weight").length === 2, "[blocks, block·(block − 1)/2]");
    case "BOFT": {
      const r = shape("boft_R"), s = shape("boft_s"), m = method.factors;
      fits(
        "boft_R",
        r.length === 4 && r[0] === m && r[2] === r[3],
        `[${m}, blocks, block, block] for boft_n_butterfly_factor ${m} (PEFT trains 1 factor where its CUDA extension ` +
          "is missing, and leaves the field as it was: then set the field to 1)",
      );
      return fits("boft_s", s.length === 2 && s[1] === 1, "[out, 1]");
    }
    case "HRA":
      return fits(
        "hra_u",
        shape("hra_u").length === 2 && shape("hra_u")[1] === method.rank,
        `[in, ${method.rank}]`,
      );
  }
}

/** Write a directory that must not be there yet, whole or not at all. Throws PeftError where it is there. */
export function writePeft(dir: string, { json, modules, saved }: Omit<PeftDirectory, "config">): void {
  refuseFull(dir);
  writeWhole(dir, (at) => writePeftFiles(at, { json, modules, saved }));
}

/** Write the two files into a directory that is there. */
export function writePeftFiles(dir: string, { json, modules, saved }: Omit<PeftDirectory, "config">): void {
  const tensors = new Map<string, StoredTensor>();
  for (const [module, leaves] of modules) {
    for (const [leaf, tensor] of leaves) tensors.set(`${PREFIX}${module}.${leaf}`, tensor);
  }
  for (const [name, tensor] of saved) tensors.set(`${PREFIX}${name}`, tensor);
  writeSafetensors(`${dir}/${TENSOR_FILE}`, tensors, { format: "pt" });
  writeTextAtomically(`${dir}/${CONFIG_FILE}`, `${JSON.stringify(json, null, 2)}\n`);
}

/** Refuse to write where something is. Throws PeftError. */
export function refuseFull(dir: string): void {
  if (!exists(dir) || isEmptyDirectory(dir)) return;
  throw new PeftError(`${dir}: is there already; give another directory, or remove it.`, { dir });
}
