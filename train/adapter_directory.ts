/** Trained adapters on disk: Gyre's own directory, whole, and PEFT's beside it where PEFT has a form for the method. @module */
import * as Either from "fp-ts/Either.js";
import { type Aval, sameShape, ShapeError } from "../core/mod.ts";
import { namedParams } from "./adapter_file.ts";
import { type AdapterSettings, DEFAULT_SETTINGS, SETTING_READERS } from "./adapter_specs.ts";
import type { ShapeClass } from "./arena.ts";
import { exists, isFile } from "./atomic_file.ts";
import { AdapterError } from "./errors.ts";
import type { GivenValues } from "./given.ts";
import { isPickle, PICKLE_ADVICE } from "./input_file.ts";
import { readJson } from "./json_file.ts";
import { didYouMean } from "./nearby_path.ts";
import { layoutClasses, type MethodOptions, METHODS, type ModelLayout, settingsUsed } from "./methods.ts";
import type { LoadPeftOptions } from "./peft/branch.ts";
import { GYRE_FILE, parseGyreFile } from "./peft/combine.ts";
import { loadedClasses, loadPeft, withSaved } from "./peft/load.ts";
import { peftLayouts } from "./peft/methods.ts";
import { savePeft, type SaveRequest } from "./peft/save.ts";
import { writeSettings } from "./run_files.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./training.ts";

/** Trained parameters, in the directory of an adapter. */
export const ADAPTER_FILE = "adapter.safetensors";
/** What they are parameters of, beside them. */
const DESCRIPTION = "adapter.json";

/** An adapter to go on with. */
export interface LoadedAdapter {
  readonly classes: readonly ShapeClass[];
  readonly values: GivenValues;
  /** The model's weights, with those in place that were trained whole before. */
  readonly weights: ReadonlyMap<string, StoredTensor>;
  /** What it is: settings of its own in place of the run's; null for one of PEFT, whose files say what it is. */
  readonly options: MethodOptions | null;
  /** How PEFT writes it; null where PEFT has no form for it. */
  readonly layouts: readonly PeftForm[] | null;
}

/** Maps that a directory of PEFT is for, and the adapters that they have. */
export interface PeftForm extends Pick<SaveRequest, "branches" | "combine"> {
  /** Null: all maps. */
  readonly paths: ReadonlySet<string> | null;
}

/** What is saved, and of which model. */
export interface SavedAdapter {
  readonly model: string;
  readonly layout: ModelLayout;
  /** What its head predicts, where it has one of its own; absent: the next token. */
  readonly task?: string;
  readonly classes: readonly ShapeClass[];
  readonly trained: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>;
}

/** Write `<dir>`: every parameter, frozen ones too, and `adapter.json` that says of what. The parameters come last. */
export function saveAdapter(
  dir: string,
  options: MethodOptions,
  { model, classes, trained, task }: SavedAdapter,
): void {
  const { method, compose = null, saveModules = null, target } = options;
  Deno.mkdirSync(dir, { recursive: true });
  writeSettings(dir, {
    method,
    ...(compose === null ? {} : { compose }),
    ...Object.fromEntries(settingsUsed(method).map((name) => [name, options[name]])),
    ...(saveModules === null ? {} : { save_modules: saveModules }),
    target,
    ...(task === undefined ? {} : { task }),
    base_model: model,
  }, DESCRIPTION);
  writeSafetensors(`${dir}/${ADAPTER_FILE}`, namedParams(classes, trained));
}

/** How PEFT writes a method's adapters; null for methods that it has no form for. */
export function peftForms(
  options: MethodOptions,
  { modules }: Pick<ModelLayout, "modules">,
): readonly PeftForm[] | null {
  return peftLayouts(options, modules)?.map(({ paths, branches, combine }) => ({
    paths,
    branches: () => branches,
    combine,
  })) ?? null;
}

/** Write `<dir>` for Hugging Face PEFT; several places of an expression get a directory each, numbered. */
export function exportPeft(
  dir: string,
  forms: readonly PeftForm[],
  { model, layout: { modules }, trained, task }: SavedAdapter,
): void {
  const maps = new Set(modules.map((m) => m.path));
  forms.forEach(({ paths, branches, combine }, i) => {
    // Weights trained whole go with the first directory.
    const own = [...trained].filter(([path]) => maps.has(path) ? !paths || paths.has(path) : i === 0);
    savePeft(forms.length === 1 ? dir : `${dir}-${i + 1}`, {
      modules,
      ...(task === undefined ? {} : { classifier: true }),
      trained: new Map(own),
      branches,
      combine,
      base: model,
    });
  });
}

/**
 * Read an adapter that Gyre wrote, or a directory of PEFT, for a model with these weights. Throws AdapterError, PeftError
 * and SafetensorsError, which name the file and what is wrong in it.
 */
export function loadAdapter(
  dir: string,
  layout: ModelLayout,
  weights: ReadonlyMap<string, StoredTensor>,
  use: LoadPeftOptions,
): LoadedAdapter {
  const { modules } = layout;
  requireAdapter(dir);
  if (!isFile(`${dir}/${DESCRIPTION}`)) {
    const loaded = loadPeft(dir, modules, use);
    return {
      classes: loadedClasses(loaded, modules),
      values: loaded.values,
      weights: withSaved(weights, loaded, dir),
      options: null,
      layouts: [{ paths: null, ...loaded.layout }],
    };
  }
  const options = describedOptions(`${dir}/${DESCRIPTION}`);
  const classes = describedClasses(`${dir}/${DESCRIPTION}`, options, layout);
  return {
    classes,
    values: namedValues(`${dir}/${ADAPTER_FILE}`, classes),
    weights,
    options,
    layouts: peftForms(options, layout),
  };
}

/** The model that an adapter's directory, Gyre's or PEFT's, says it belongs to; null where it does not say. Throws AdapterError. */
export function namedBase(dir: string): string | null {
  requireAdapter(dir);
  const field = (file: string, name: string): unknown =>
    (readJson(file, AdapterError, "it belongs to the adapter") as Readonly<Record<string, unknown>> | null)
      ?.[name];
  if (isFile(`${dir}/${DESCRIPTION}`)) return textOrNull(field(`${dir}/${DESCRIPTION}`, "base_model"));
  if (isFile(`${dir}/${PEFT_CONFIG}`)) {
    return textOrNull(field(`${dir}/${PEFT_CONFIG}`, "base_model_name_or_path"));
  }
  const file = `${dir}/${GYRE_FILE}`,
    [first] = parseGyreFile(readJson(file, AdapterError, ""), file).branches;
  return first?.directories[0] === undefined ? null : namedBase(`${dir}/${first.directories[0]}`);
}

/** What an adapter was made with; null of PEFT's directories, whose files say what it is. Throws AdapterError. */
export function ownOptions(dir: string): MethodOptions | null {
  requireAdapter(dir);
  const file = `${dir}/${DESCRIPTION}`;
  return isFile(file) ? describedOptions(file) : null;
}

/** The task that an adapter of an encoder was trained for; null of others, and of PEFT's directories. Throws AdapterError. */
export function namedTask(dir: string): string | null {
  const file = `${dir}/${DESCRIPTION}`;
  if (!isFile(file)) return null;
  const json = readJson(file, AdapterError, "it belongs to the adapter");
  return textOrNull((json as Readonly<Record<string, unknown>> | null)?.["task"]);
}

/** Refuse a directory that is not there, or has no adapter. Throws AdapterError. */
function requireAdapter(dir: string): void {
  if (isPickle(dir)) {
    throw new AdapterError(`${dir}: ${PICKLE_ADVICE}: PEFT's save_pretrained writes a directory with it.`, {
      dir,
    });
  }
  if ([DESCRIPTION, PEFT_CONFIG, GYRE_FILE].some((name) => isFile(`${dir}/${name}`))) return;
  const own = `${dir}/adapter`;
  throw new AdapterError(
    exists(`${own}/${DESCRIPTION}`)
      ? `${dir}: is a run; its adapter is ${own}.`
      : exists(dir)
      ? `${dir}: is no adapter; expected ${DESCRIPTION}, ${PEFT_CONFIG} or ${GYRE_FILE} in it.`
      : `${dir}: not found${didYouMean(dir)}; give an adapter's directory, such as runs/NAME/adapter.`,
    { dir },
  );
}

/** What PEFT's directories have. */
const PEFT_CONFIG = "adapter_config.json";

const textOrNull = (value: unknown): string | null =>
  typeof value === "string" && value !== "" ? value : null;

/** The options that `adapter.json` describes. */
function describedOptions(file: string): MethodOptions {
  const json = readJson(file, AdapterError, "it belongs to the adapter");
  const bad = (what: string): AdapterError => new AdapterError(`${file}: ${what}.`, { file });
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw bad("expected a JSON object");
  const fields = json as Readonly<Record<string, unknown>>;
  const method = ([...METHODS, "compose"] as const).find((m) => m === fields["method"]);
  if (method === undefined) {
    throw bad(
      `method is ${JSON.stringify(fields["method"])}; expected one of ${METHODS.join(", ")} or compose`,
    );
  }
  const text = (name: string): string | null => {
    const value = fields[name] ?? null;
    // Each star is another way through a path to try.
    if (value === null || (typeof value === "string" && !/.{10000}|(\*.*){32}/s.test(value))) return value;
    throw bad(`${name} is ${JSON.stringify(value)}; expected a short text`);
  };
  const settings = settingsUsed(method).flatMap((name) => {
    const value = fields[name];
    if (value === undefined || value === null) return [];
    // Settings are words, numbers and truth values.
    const read = SETTING_READERS[name](typeof value === "object" ? "" : String(value));
    if (Either.isLeft(read)) throw bad(`${name} is ${JSON.stringify(value)}; expected ${read.left}`);
    return [[name, read.right] as const];
  });
  // The readers tie each name to its type.
  const own = Object.fromEntries(settings) as Partial<AdapterSettings>;
  return {
    ...DEFAULT_SETTINGS,
    ...own,
    method,
    target: text("target") ?? "all-linear",
    compose: text("compose"),
    saveModules: text("save_modules"),
  };
}

/** What the adapter trains in this model. */
function describedClasses(file: string, options: MethodOptions, layout: ModelLayout): ShapeClass[] {
  try {
    return layoutClasses(options, layout);
  } catch (error) {
    // Settings that no map can have, and settings that no map of this model can have.
    if (!(error instanceof TypeError || error instanceof ShapeError)) throw error;
    throw new AdapterError(
      `${file}: does not fit this model: ${error.message.replace(/\.?\s*\n\s*/g, "; ")}`,
      {
        file,
      },
    );
  }
}

/** Values of all leaves of all members, of the shapes that the description asks for. */
function namedValues(file: string, classes: readonly ShapeClass[]): GivenValues {
  if (!isFile(file)) {
    throw new AdapterError(
      `${file}: not found, and ${DESCRIPTION} is there; copy the whole directory again.`,
      {
        file,
      },
    );
  }
  using tensors = openSafetensors(file);
  const read = (name: string, expected: Aval): StoredTensor => {
    const shape = tensors.header.tensors.get(name)?.shape;
    if (!shape || sameShape(shape, expected.shape)) return tensors.read(name);
    throw new AdapterError(
      `${file}: tensor "${name}" has shape [${shape.join()}]; ${DESCRIPTION} and the model ask for [${expected.shape.join()}].`,
      { file, tensor: name },
    );
  };
  return new Map(classes.flatMap((c) =>
    c.members.map((member) => [
      member,
      new Map(c.leaves.map((leaf) => {
        const name = c.fitted ? `${member}.${leaf.path}` : member;
        return [leaf.path, read(name, leaf.aval)];
      })),
    ])
  ));
}
